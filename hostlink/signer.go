package hostlink

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/within"
)

// signedPrefix leads what replicas have signed; the keys go on with the instances' ids.
const signedPrefix = "signed/"

// How soon a replica is asked again that did not sign, and how often which keys sign is looked at.
const (
	signAgain = 2 * time.Second
	keysEvery = 5 * time.Second
)

// Signer serves the signatures of identity documents, which replicas make and the host keeps: the keys never leave the
// replicas, and no guest waits for one. A document that was not signed yet has no signatures, as long as no replica can
// be reached. It is safe for use by many goroutines.
type Signer struct {
	copy *Copy
	log  *slog.Logger

	signed sync.Map // instance id → *keptSigned

	mu     sync.Mutex
	wanted map[string]wanted // by instance id
	wake   chan struct{}
}

// keptSigned is what is kept of one instance.
type keptSigned struct {
	Signed
	// Keys tells by which keys it was signed.
	Keys string `json:"keys"`
}

// wanted is a document that is to be signed.
type wanted struct {
	region, name string
	document     [sha256.Size]byte
}

// NewSigner makes the signer of a copy, with what was signed before.
func NewSigner(ctx context.Context, c *Copy, log *slog.Logger) (*Signer, error) {
	s := &Signer{copy: c, log: log, wanted: map[string]wanted{}, wake: make(chan struct{}, 1)}
	page, err := c.store.List(ctx, store.Range{Prefix: signedPrefix})
	if err != nil {
		return nil, err
	}
	for _, r := range page.Records {
		kept, err := records.Decode[keptSigned](r)
		if err != nil || len(kept.Document) != sha256.Size {
			log.Warn("signatures that were kept cannot be read; asking for others", "key", r.Key)
			continue
		}
		s.signed.Store(kept.ID, &kept)
	}
	return s, nil
}

// Signature implements [metadata.Signatures].
func (s *Signer) Signature(in *openimds.Instance, document []byte) ([]byte, bool) {
	k := s.of(in, document)
	return k.Signature, k.Signature != nil
}

// PKCS7 implements [metadata.Signatures].
func (s *Signer) PKCS7(in *openimds.Instance, document []byte) ([]byte, bool) {
	k := s.of(in, document)
	return k.PKCS7, k.PKCS7 != nil
}

// RSA2048 implements [metadata.Signatures].
func (s *Signer) RSA2048(in *openimds.Instance, document []byte) ([]byte, bool) {
	k := s.of(in, document)
	return k.RSA2048, k.RSA2048 != nil
}

var unsigned keptSigned

// of is what was signed of just that document.
func (s *Signer) of(in *openimds.Instance, document []byte) *keptSigned {
	entry, _ := s.signed.Load(in.ID)
	k, _ := entry.(*keptSigned)
	if k == nil || sha256.Sum256(document) != [sha256.Size]byte(k.Document) {
		return &unsigned
	}
	return k
}

// Forget implements [guestside.Signer]. What is kept is forgotten when the instance is the host's no more.
func (s *Signer) Forget(string) {}

// Run has signed what is served in these regions, until the context ends.
func (s *Signer) Run(ctx context.Context, about About, regions map[string]*Region) {
	var running sync.WaitGroup
	defer running.Wait()
	for name := range regions {
		running.Go(func() { s.follow(ctx, about, name) })
	}
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for pause := (<-chan time.Time)(nil); ; {
		wake := s.wake
		if pause != nil {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-pause:
		case <-tick.C:
		case <-wake:
		}
		pause = nil
		if err := s.ask(ctx, regions); err != nil && ctx.Err() == nil {
			s.log.Debug("identity documents are not signed yet; asking again", "error", err)
			pause = time.After(signAgain)
		}
	}
}

// follow notes which documents are to be signed.
func (s *Signer) follow(ctx context.Context, about About, region string) {
	part := within.New(s.copy.store, about.Prefix(region))
	names := map[string]string{} // name → id, as they were
	see := func(r store.Record) {
		name := strings.TrimPrefix(r.Key, records.InstancePrefix)
		in, err := records.DecodeInstance(r)
		if r.Value == nil || err != nil || names[name] != "" && names[name] != in.ID {
			s.drop(ctx, names[name])
			delete(names, name)
		}
		if r.Value == nil || err != nil {
			return
		}
		names[name] = in.ID
		s.want(in.ID, wanted{region, name, sha256.Sum256(metadata.IdentityDocument(in))})
	}
	store.Follow(ctx, part, store.Follower{
		Prefix: records.InstancePrefix,
		Listed: func(_ context.Context, page store.Page) error {
			there := map[string]bool{}
			for _, r := range page.Records {
				see(r)
				there[strings.TrimPrefix(r.Key, records.InstancePrefix)] = true
			}
			for name, id := range names { // of these it was not told that they left
				if !there[name] {
					s.drop(ctx, id)
					delete(names, name)
				}
			}
			return nil
		},
		Changed: func(_ context.Context, changes []store.Record) error {
			for _, r := range changes {
				see(r)
			}
			return nil
		},
		Log: s.log, Away: "this host's copy cannot be followed",
	})
}

func (s *Signer) want(id string, w wanted) {
	s.mu.Lock()
	s.wanted[id] = w
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// drop forgets an instance that the host serves no more.
func (s *Signer) drop(ctx context.Context, id string) {
	if id == "" {
		return
	}
	s.mu.Lock()
	delete(s.wanted, id)
	s.mu.Unlock()
	s.signed.Delete(id)
	_, _ = s.copy.store.Commit(ctx, store.Change{Verb: store.Delete, Key: signedPrefix + id, If: store.Whatever}) // or it stays, and is of no use
}

// missing are the names of the instances whose documents are not signed by the keys of now, by region, and how many they
// are.
func (s *Signer) missing() (missing map[string][]string, all int) {
	keys := s.copy.Keys()
	missing = map[string][]string{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, w := range s.wanted {
		entry, _ := s.signed.Load(id)
		k, _ := entry.(*keptSigned)
		if k == nil || keys != "" && k.Keys != keys || [sha256.Size]byte(k.Document) != w.document {
			missing[w.region] = append(missing[w.region], w.name)
			all++
		}
	}
	return missing, all
}

// ask has a replica sign what is not signed yet, and what it does not come to at once, as long as that gets less.
func (s *Signer) ask(ctx context.Context, regions map[string]*Region) error {
	missing, all := s.missing()
	for more := true; more; {
		more = false
		for region, names := range missing {
			for batch := range slices.Chunk(names, MaxSigned) {
				answer, err := regions[region].sign(ctx, batch)
				if err != nil {
					return err
				}
				for _, signed := range answer.Signed {
					if err := s.keep(ctx, keptSigned{signed, answer.Keys}); err != nil {
						return err
					}
				}
				more = more || answer.More
			}
		}
		before := all
		missing, all = s.missing()
		more = more && all < before
	}
	return nil
}

func (s *Signer) keep(ctx context.Context, k keptSigned) error {
	if len(k.Document) != sha256.Size {
		return nil
	}
	s.mu.Lock()
	_, served := s.wanted[k.ID]
	s.mu.Unlock()
	if !served {
		return nil
	}
	value, err := records.Encode(k)
	if err != nil {
		return err
	}
	s.signed.Store(k.ID, &k)
	_, err = s.copy.store.Commit(ctx, store.Change{Verb: store.Put, Key: signedPrefix + k.ID, Value: value, If: store.Whatever})
	return err
}
