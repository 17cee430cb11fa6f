package basicauthextension

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
)

// passwordBytesMax is what bcrypt looks at; a longer password would be let in by its beginning.
const passwordBytesMax = 72

// rememberedMax bounds the memory of what was found right; it holds one entry for a user and hash.
const rememberedMax = 1 << 16

// waitMax is how long a request waits for its check.
const waitMax = 10 * time.Second

var (
	errBusy  = errors.New("too many sign-ins at a time: try again")
	errNone  = errors.New("no credentials: send HTTP basic authentication")
	errWrong = errors.New("wrong name or password")
)

var (
	_ extension.Extension  = (*server)(nil)
	_ extensionauth.Server = (*server)(nil)
)

// server decides about one request. A wrong name takes as long as a wrong password: every check does
// the same bcrypt work. What was found right is remembered (as an HMAC), for bcrypt would cost each
// request what a thousand requests cost otherwise.
type server struct {
	source *source

	// key makes what is remembered worthless outside of this process.
	key [sha256.Size]byte

	// compare is bcrypt's, and counted by a test.
	compare func(hash, password []byte) error

	// checks holds one place for each bcrypt check at a time: strangers who guess must leave
	// processors to those who are known.
	checks chan struct{}

	mutex      sync.Mutex
	remembered map[[sha256.Size]byte]struct{}
}

func newServer(config *Config, logger *zap.Logger) *server {
	s := &server{
		source:     &source{config: *config.Htpasswd, logger: logger, now: time.Now},
		compare:    bcrypt.CompareHashAndPassword,
		checks:     make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		remembered: map[[sha256.Size]byte]struct{}{},
	}
	_, _ = rand.Read(s.key[:]) // never fails (crypto/rand)
	return s
}

// Start reads the file; a Collector whose users cannot be read must not run.
func (s *server) Start(context.Context, component.Host) error { return s.source.load() }

// Shutdown does nothing.
func (*server) Shutdown(context.Context) error { return nil }

// Authenticate lets a request in, or says why not without saying whether the name is known.
func (s *server) Authenticate(
	ctx context.Context, sources map[string][]string,
) (context.Context, error) {
	name, password, ok := credentials(sources)
	if !ok {
		return ctx, errNone
	}
	right, err := s.right(ctx, name, password)
	if err != nil {
		return ctx, err
	}
	if !right {
		return ctx, errWrong
	}
	info := client.FromContext(ctx)
	info.Auth = identity(name)
	return client.NewContext(ctx, info), nil
}

func (s *server) right(ctx context.Context, name, password string) (bool, error) {
	if len(password) > passwordBytesMax {
		return false, nil
	}
	known := s.source.current()
	hash, found := known.hashes[name]
	mark := s.mark(name, password, hash)
	if found && s.remembers(mark) {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, waitMax)
	defer cancel()
	select {
	case s.checks <- struct{}{}:
		defer func() { <-s.checks }()
	case <-ctx.Done():
		return false, errBusy
	}
	right := s.check(hash, []byte(password), known.cost)
	if right {
		s.remember(mark)
	}
	return right, nil
}

// check does the work of one check at the highest cost, whether there is a hash and whatever its own
// cost is: a check of cost c costs 2^c, so those of c, c+1 .. up to the highest add up to it.
func (s *server) check(hash, password []byte, highest int) bool {
	if hash == nil {
		_ = s.compare(neverMatches(highest), password)
		return false
	}
	right := s.compare(hash, password) == nil
	own, err := bcrypt.Cost(hash)
	for cost := own; err == nil && cost < highest; cost++ {
		_ = s.compare(neverMatches(cost), password)
	}
	return right
}

// mark stands for a name, its hash and a password; another hash makes another mark.
func (s *server) mark(name, password string, hash []byte) [sha256.Size]byte {
	digest := hmac.New(sha256.New, s.key[:])
	for _, part := range [][]byte{[]byte(name), hash, []byte(password)} {
		digest.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		digest.Write(part)
	}
	return [sha256.Size]byte(digest.Sum(nil))
}

func (s *server) remembers(mark [sha256.Size]byte) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	_, ok := s.remembered[mark]
	return ok
}

func (s *server) remember(mark [sha256.Size]byte) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.remembered) >= rememberedMax {
		clear(s.remembered)
	}
	s.remembered[mark] = struct{}{}
}

// credentials reads the Authorization header of HTTP or the metadata of gRPC. Two of them are none:
// whoever stands before us may have looked at the other one.
func credentials(sources map[string][]string) (name, password string, ok bool) {
	var values []string
	for key, each := range sources {
		if strings.EqualFold(key, "authorization") {
			values = append(values, each...)
		}
	}
	if len(values) != 1 {
		return "", "", false
	}
	scheme, encoded, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "basic") {
		return "", "", false
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(decoded), ":")
}

// identity is who came in, for processors that read `auth.username`.
type identity string

// GetAttribute is the name for "username", else nil. The credentials themselves are not given on.
func (i identity) GetAttribute(name string) any {
	if name == "username" {
		return string(i)
	}
	return nil
}

// GetAttributeNames lists what GetAttribute knows.
func (identity) GetAttributeNames() []string { return []string{"username"} }
