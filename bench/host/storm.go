package main

import (
	"bytes"
	"fmt"
	"log"
	"path"
	"strings"
	"sync"
	"time"
)

// storm is what guests that boot at the same time see.
type storm struct {
	guests, requests, failures, wrong int
	took                              time.Duration
	seconds                           []float64 // of each request
}

// stormPatience is how long a guest of the storm waits for an answer; cloud-init's own is 50 s.
const stormPatience = 50 * time.Second

// measureStorm has all guests ask, at once, what cloud-init asks at boot.
func (b *bench) measureStorm(guests []*guest) error {
	log.Printf("%d guests boot at once", len(guests))
	all := storm{guests: len(guests)}
	var mu sync.Mutex
	var booting sync.WaitGroup
	var first error
	start := make(chan struct{})
	ids := map[string]bool{}
	for _, g := range guests {
		booting.Go(func() {
			<-start
			boot := boot{bench: b, guest: g}
			err := boot.run()
			mu.Lock()
			defer mu.Unlock()
			all.requests += len(boot.seconds)
			all.seconds = append(all.seconds, boot.seconds...)
			if err != nil {
				all.failures++
				first = err
			} else if ids[boot.id] {
				all.wrong++
			}
			ids[boot.id] = true
		})
	}
	began := time.Now()
	close(start)
	booting.Wait()
	all.took = time.Since(began)
	if first != nil {
		log.Printf("%d of %d guests failed, for instance: %v", all.failures, all.guests, first)
	}
	b.storm = append(b.storm, all)
	return nil
}

// boot is cloud-init's way through the metadata of one guest.
type boot struct {
	*bench
	*guest
	token   string
	id      string
	seconds []float64
}

// version is the one that cloud-init asks for first.
const version = "/2021-03-23"

func (b *boot) run() error {
	token, err := b.request("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600")
	if err != nil {
		return err
	}
	b.token = string(token)
	id, err := b.get(version + "/meta-data/instance-id")
	if err != nil {
		return err
	}
	b.id = string(id)
	if _, err := b.get(version + "/user-data"); err != nil {
		return err
	}
	for _, tree := range []string{version + "/meta-data/", version + "/dynamic/instance-identity/"} {
		if err := b.walk(tree); err != nil {
			return err
		}
	}
	return nil
}

// walk asks for all that is listed below a path, as cloud-init does: a line "0=name" is a key, and
// credentials are left alone.
func (b *boot) walk(dir string) error {
	listing, err := b.get(dir)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(listing) {
		name := string(bytes.TrimRight(line, "\n"))
		if strings.Contains(name, "security-credentials") {
			continue
		}
		if number, _, key := strings.Cut(name, "="); key {
			name = path.Join(number, "openssh-key")
		}
		next := b.get
		if strings.HasSuffix(name, "/") {
			next = func(path string) ([]byte, error) { return nil, b.walk(path) }
		}
		if _, err := next(dir + name); err != nil {
			return err
		}
	}
	return nil
}

func (b *boot) get(path string) ([]byte, error) {
	body, err := b.request("GET", path, "X-aws-ec2-metadata-token: "+b.token)
	if err == nil && b.id != "" && strings.HasSuffix(path, "/instance-id") && string(body) != b.id {
		err = fmt.Errorf("%s: the guest is %s and was %s before", path, body, b.id)
	}
	return body, err
}

func (b *boot) request(method, path string, headers ...string) ([]byte, error) {
	began := time.Now()
	a, err := b.ask(b.guest, stormPatience, method, path, headers...)
	b.seconds = append(b.seconds, time.Since(began).Seconds())
	if err == nil && a.status != "200" {
		err = fmt.Errorf("%s %s: %s", method, path, a.status)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.guest.name, err)
	}
	return a.body, nil
}
