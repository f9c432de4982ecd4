package imds

import (
	"bytes"
	"net/netip"
	"strings"
)

// splitTarget returns the path of a request target as it was sent, without the query, and the
// authority of one in absolute form. ok is false for the other forms ("*", "host:port").
func splitTarget(target []byte) (path, authority []byte, ok bool) {
	if target[0] != '/' {
		const scheme = "http://"
		if len(target) < len(scheme) || !is(target[:len(scheme)], scheme) {
			return nil, nil, false
		}
		rest := target[len(scheme):]
		end := bytes.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		authority, path = rest[:end], rest[end:]
	} else {
		path = target
	}
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	return path, authority, true
}

// cleanPath decodes a path once and appends it to dst in the form that the table of categories
// knows: no slash at either end, no empty segment, dots resolved inside the root. It never
// redirects: AWS does not, and its clients refuse to follow. ok is false for a broken %-sequence.
func cleanPath(dst, path []byte) (_ []byte, ok bool) {
	base := len(dst)
	segment := base // where the segment under way begins
	end := func() {
		switch string(dst[segment:]) {
		case "", ".":
			dst = dst[:segment]
		case "..":
			dst = dst[:max(segment-1, base)]
			if i := bytes.LastIndexByte(dst[base:], '/'); i >= 0 {
				dst = dst[:base+i+1]
			} else {
				dst = dst[:base]
			}
		default:
			dst = append(dst, '/')
		}
		segment = len(dst)
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if i+2 >= len(path) {
				return nil, false
			}
			hi, lo := fromHex(path[i+1]), fromHex(path[i+2])
			if hi > 15 || lo > 15 {
				return nil, false
			}
			c = hi<<4 | lo
			i += 2
		}
		if c == '/' {
			end()
			continue
		}
		dst = append(dst, c)
	}
	end()
	if len(dst) > base {
		dst = dst[:len(dst)-1]
	}
	return dst, true
}

func fromHex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// hostStatus says whether a guest may have come by this Host: 0 if so, else the status of the refusal.
//
// A web page can bind its own name to this address and then speak to the service as if to itself
// (DNS rebinding); tokens do not stop it, for it may send any header. Such a page always names
// itself, so names are answered only if they cannot be a page's: addresses, single labels, and those
// on the list.
func hostStatus(host []byte, allowed map[string]bool) int {
	if len(host) == 0 {
		return 0 // HTTP/1.0, or a client without a name; a browser always has one
	}
	name, ok := stripPort(host)
	if !ok {
		return 400
	}
	if name[0] == '[' {
		if _, err := netip.ParseAddr(string(name[1 : len(name)-1])); err != nil {
			return 400
		}
		return 0
	}
	dotted, literal := false, true
	for _, c := range name {
		switch {
		case c == '.':
			dotted = true
		case isDigit(c):
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_':
			literal = false
		default:
			return 400
		}
	}
	if !dotted {
		return 0
	}
	if literal {
		if _, err := netip.ParseAddr(string(name)); err == nil {
			return 0
		}
	}
	lower := strings.ToLower(strings.TrimSuffix(string(name), "."))
	if !strings.Contains(lower, ".") || allowed[lower] {
		return 0
	}
	return 403
}

// stripPort cuts the port, if any, off a Host; an IPv6 address keeps its brackets.
func stripPort(host []byte) (name []byte, ok bool) {
	colon := bytes.LastIndexByte(host, ':')
	if host[0] == '[' {
		end := bytes.IndexByte(host, ']')
		if end < 0 || end != len(host)-1 && colon != end+1 {
			return nil, false
		}
		name = host[:end+1]
		if end == len(host)-1 {
			colon = -1
		}
	} else if name = host; colon >= 0 {
		name = host[:colon]
	}
	if colon >= 0 {
		for _, c := range host[colon+1:] {
			if !isDigit(c) {
				return nil, false
			}
		}
	}
	return name, len(name) > 0
}
