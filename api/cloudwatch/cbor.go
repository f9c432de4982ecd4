package cloudwatch

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"
)

// jsonOfCBOR writes a CBOR map as JSON: what CBOR has and JSON has not, no request of this API has either. It bounds the
// nesting and leaves names that stand twice for the reader of the JSON to refuse. (The decoder of smithy-go takes the last of
// them without a word, and a list of 2^63 items for an empty one; a fuzz test holds the two against each other.)
func jsonOfCBOR(body []byte) ([]byte, error) {
	if len(body) == 0 { // of a request without members
		return []byte("{}"), nil
	}
	c := cborReader{in: body}
	if c.in[0]>>5 != cborMap {
		return nil, errCBOR("is not a CBOR map")
	}
	if err := c.value(0); err != nil {
		return nil, err
	}
	if len(c.in) > 0 {
		return nil, errCBOR("does not end where its CBOR map does")
	}
	return c.out.Bytes(), nil
}

// The major types of CBOR (RFC 8949, section 3.1).
const (
	cborUint = iota
	cborNegative
	cborBytes
	cborText
	cborList
	cborMap
	cborTag
	cborSimple
)

const (
	cborBreak      = 0xff
	cborIndefinite = 31
	cborDepth      = 32
)

func errCBOR(what string) error { return malformed("The request's body %s", what) }

// cborReader reads in and writes out.
type cborReader struct {
	in  []byte
	out bytes.Buffer
}

// head reads what an item begins with: its type, the argument, and how that was written.
func (c *cborReader) head() (major byte, n uint64, minor byte, err error) {
	if len(c.in) == 0 {
		return 0, 0, 0, errCBOR("is cut off")
	}
	major, minor = c.in[0]>>5, c.in[0]&31
	c.in = c.in[1:]
	switch {
	case minor < 24:
		return major, uint64(minor), minor, nil
	case minor < 28:
		size := 1 << (minor - 24)
		if len(c.in) < size {
			return 0, 0, 0, errCBOR("is cut off")
		}
		var wide [8]byte
		copy(wide[8-size:], c.in)
		c.in = c.in[size:]
		return major, binary.BigEndian.Uint64(wide[:]), minor, nil
	case minor == cborIndefinite:
		return major, 0, minor, nil
	}
	return 0, 0, 0, errCBOR("is not CBOR")
}

func (c *cborReader) value(depth int) error {
	if depth > cborDepth {
		return malformed("The request is nested too deeply")
	}
	major, n, minor, err := c.head()
	if err != nil {
		return err
	}
	indefinite := minor == cborIndefinite
	switch {
	case major == cborText:
		text, err := c.text(n, indefinite)
		if err == nil {
			quoted(&c.out, text)
		}
		return err
	case major == cborList:
		return c.items('[', ']', n, indefinite, func() error { return c.value(depth + 1) })
	case major == cborMap:
		return c.items('{', '}', n, indefinite, func() error { return c.member(depth + 1) })
	case major == cborSimple:
		return c.simple(n, minor)
	case indefinite:
		return errCBOR("is not CBOR")
	case major == cborUint:
		c.out.Write(strconv.AppendUint(nil, n, 10))
	case major == cborNegative:
		return c.float(-1 - float64(n))
	case major == cborTag && n == 1:
		return c.moment()
	default: // bytes, and tags of what the API does not have
		return malformed("A value was found of a type that no member has")
	}
	return nil
}

// items reads a list's or a map's.
func (c *cborReader) items(open, end byte, n uint64, indefinite bool, read func() error) error {
	c.out.WriteByte(open)
	for i := uint64(0); indefinite || i < n; i++ {
		if indefinite && len(c.in) > 0 && c.in[0] == cborBreak {
			c.in = c.in[1:]
			break
		}
		if i > 0 {
			c.out.WriteByte(',')
		}
		if err := read(); err != nil {
			return err
		}
	}
	c.out.WriteByte(end)
	return nil
}

func (c *cborReader) member(depth int) error {
	major, n, minor, err := c.head()
	if err != nil {
		return err
	}
	if major != cborText {
		return errCBOR("has a name that is no text")
	}
	name, err := c.text(n, minor == cborIndefinite)
	if err != nil {
		return err
	}
	quoted(&c.out, name)
	c.out.WriteByte(':')
	return c.value(depth)
}

// text reads a text of n bytes, or one in pieces to a break.
func (c *cborReader) text(n uint64, indefinite bool) (string, error) {
	var whole []byte
	for {
		if !indefinite {
			if n > uint64(len(c.in)) {
				return "", errCBOR("is cut off")
			}
			whole = append(whole, c.in[:n]...)
			c.in = c.in[n:]
			break
		}
		if len(c.in) > 0 && c.in[0] == cborBreak {
			c.in = c.in[1:]
			break
		}
		major, size, minor, err := c.head()
		if err != nil {
			return "", err
		}
		if major != cborText || minor == cborIndefinite || size > uint64(len(c.in)) {
			return "", errCBOR("is not CBOR")
		}
		whole = append(whole, c.in[:size]...)
		c.in = c.in[size:]
	}
	if !utf8.Valid(whole) {
		return "", errCBOR("has a text that is not UTF-8")
	}
	return string(whole), nil
}

// simple reads a truth value, null or a number with a fraction.
func (c *cborReader) simple(n uint64, minor byte) error {
	switch minor {
	case 20:
		c.out.WriteString("false")
	case 21:
		c.out.WriteString("true")
	case 22, 23:
		c.out.WriteString("null")
	case 25:
		return c.float(halfFloat(uint16(n)))
	case 26:
		return c.float(float64(math.Float32frombits(uint32(n))))
	case 27:
		return c.float(math.Float64frombits(n))
	default:
		return errCBOR("is not CBOR")
	}
	return nil
}

// float writes a number that JSON has.
func (c *cborReader) float(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return malformed("A number is not finite")
	}
	c.out.Write(strconv.AppendFloat(nil, f, 'g', -1, 64))
	return nil
}

// moment reads the number of seconds behind the tag of a time.
func (c *cborReader) moment() error {
	if len(c.in) > 0 {
		switch major, minor := c.in[0]>>5, c.in[0]&31; {
		case major == cborUint, major == cborNegative, major == cborSimple && minor >= 25 && minor <= 27:
			return c.value(0)
		}
	}
	return malformed("A time is not a number of seconds")
}

// halfFloat is a number of 16 bits (RFC 8949, appendix D).
func halfFloat(bits uint16) float64 {
	exponent, fraction := int(bits>>10&31), float64(bits&0x3ff)
	value := math.Ldexp(fraction+1024, exponent-25)
	switch exponent {
	case 0:
		value = math.Ldexp(fraction, -24)
	case 31:
		value = math.Inf(1)
		if fraction != 0 {
			value = math.NaN()
		}
	}
	if bits&0x8000 != 0 {
		return -value
	}
	return value
}
