package basicauthextension

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
)

const (
	// costMax bounds what one request can cost: each step doubles the work, 14 is about a second.
	costMax = 14
	// fileBytesMax is some ten thousand users.
	fileBytesMax = 1 << 20
	// lookEvery is how old our knowledge of the file may be.
	lookEvery = time.Second
)

// users are the bcrypt hashes by name, and the highest cost among them.
type users struct {
	hashes map[string][]byte
	cost   int
}

// parse reads htpasswd lines, `name:bcrypt-hash`. An error names the line and never shows it.
func parse(source, text string) (users, error) {
	found := users{hashes: map[string][]byte{}, cost: bcrypt.MinCost}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return users{}, fmt.Errorf("%s, line %d is not `name:hash`: make it with "+
				"`htpasswd -nB NAME`", source, number)
		}
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || len(hash) != len(neverMatches(bcrypt.MinCost)) {
			return users{}, fmt.Errorf("%s, line %d holds no bcrypt hash: only bcrypt is taken, make "+
				"it with `htpasswd -nB NAME`", source, number)
		}
		if cost > costMax {
			return users{}, fmt.Errorf("%s, line %d has cost %d, at most %d is taken: make it with "+
				"`htpasswd -nB -C 10 NAME`", source, number, cost, costMax)
		}
		found.hashes[name] = []byte(hash)
		found.cost = max(found.cost, cost)
	}
	return found, nil
}

// neverMatches is a well-formed hash of no password that anybody knows.
func neverMatches(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", 53))
}

// source is the users of an htpasswd file and of inline text; it looks at the file when it is asked.
type source struct {
	config HtpasswdConfig
	logger *zap.Logger
	now    func() time.Time

	mutex   sync.Mutex
	users   users
	looked  time.Time
	file    os.FileInfo
	failure string
}

// load reads the file for the first time.
func (s *source) load() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.looked = s.now()
	return s.read()
}

// current are the users by the newest file that could be read.
func (s *source) current() users {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if now := s.now(); s.config.File != "" && now.Sub(s.looked) >= lookEvery {
		s.looked = now
		s.look()
	}
	return s.users
}

// look reads the file again if it is another one; one that cannot be read changes nothing.
func (s *source) look() {
	info, err := os.Stat(s.config.File)
	if err == nil {
		same := os.SameFile(info, s.file) && info.Size() == s.file.Size() &&
			info.ModTime().Equal(s.file.ModTime())
		if same {
			return
		}
		err = s.read()
	}
	switch {
	case err == nil:
		s.failure = ""
		s.logger.Info("read the changed htpasswd file", zap.Int("users", len(s.users.hashes)))
	case err.Error() != s.failure:
		s.failure = err.Error()
		s.logger.Error("the changed htpasswd file cannot be used, the users before it stay: correct it",
			zap.Error(err))
	}
}

func (s *source) read() error {
	text := ""
	var info os.FileInfo
	if s.config.File != "" {
		file, err := os.Open(s.config.File)
		if err != nil {
			return fmt.Errorf("`htpasswd::file` cannot be read: %w", err)
		}
		defer file.Close()
		if info, err = file.Stat(); err != nil {
			return fmt.Errorf("`htpasswd::file` cannot be read: %w", err)
		}
		content, err := io.ReadAll(io.LimitReader(file, fileBytesMax+1))
		if err != nil {
			return fmt.Errorf("`htpasswd::file` cannot be read: %w", err)
		}
		if len(content) > fileBytesMax {
			return fmt.Errorf("%s is larger than %d bytes", s.config.File, fileBytesMax)
		}
		text = string(content)
	}
	found, err := parse(s.config.File, text)
	if err != nil {
		return err
	}
	inline, err := parse("htpasswd::inline", string(s.config.Inline))
	if err != nil {
		return err
	}
	for name, hash := range inline.hashes {
		found.hashes[name] = hash
	}
	found.cost = max(found.cost, inline.cost)
	s.users, s.file = found, info
	return nil
}
