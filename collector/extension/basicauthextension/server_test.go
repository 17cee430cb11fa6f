package basicauthextension

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"
)

func line(t *testing.T, name, password string, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return name + ":" + string(hash) + "\n"
}

func started(t *testing.T, config HtpasswdConfig) *server {
	t.Helper()
	s := newServer(&Config{Htpasswd: &config}, zap.NewNop())
	if err := s.Start(context.Background(), componenttest.NewNopHost()); err != nil {
		t.Fatal(err)
	}
	return s
}

func basic(text string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(text))
}

func in(s *server, values ...string) error {
	_, err := s.Authenticate(context.Background(), map[string][]string{"Authorization": values})
	return err
}

func TestOnlyTheRightNameAndPasswordComeIn(t *testing.T) {
	long := strings.Repeat("x", passwordBytesMax)
	s := started(t, HtpasswdConfig{Inline: configopaque.String(
		line(t, "agent", "pa:ss", 4) + "# a remark\n\n" + line(t, "long", long, 4))})
	for _, good := range []string{
		basic("agent:pa:ss"), "basic " + base64.StdEncoding.EncodeToString([]byte("agent:pa:ss")),
		basic("long:" + long),
	} {
		for range 2 { // the second time from memory
			if err := in(s, good); err != nil {
				t.Errorf("%q: %v", good, err)
			}
		}
	}
	for _, bad := range [][]string{
		nil,
		{""},
		{"Basic"},
		{"Basic !"},
		{basic("agent")},
		{basic(":pa:ss")},
		{basic("agent:")},
		{basic("agent:pa:s")},
		{basic("Agent:pa:ss")},
		{basic("nobody:pa:ss")},
		{basic("long:" + long + "y")},
		{"Bearer " + base64.StdEncoding.EncodeToString([]byte("agent:pa:ss"))},
		{basic("agent:pa:ss"), basic("agent:pa:ss")},
		{basic("agent:wrong"), basic("agent:pa:ss")},
	} {
		if err := in(s, bad...); err == nil {
			t.Errorf("%q came in", bad)
		}
	}
}

func TestTheMetadataOfGrpcIsRead(t *testing.T) {
	s := started(t, HtpasswdConfig{Inline: configopaque.String(line(t, "agent", "pass", 4))})
	ctx, err := s.Authenticate(context.Background(),
		map[string][]string{"authorization": {basic("agent:pass")}})
	if err != nil {
		t.Fatal(err)
	}
	auth := client.FromContext(ctx).Auth
	if auth.GetAttribute("username") != "agent" || auth.GetAttribute("raw") != nil {
		t.Error("the name must be given on, the credentials must not")
	}
	if !slices.Equal(auth.GetAttributeNames(), []string{"username"}) {
		t.Error(auth.GetAttributeNames())
	}
}

// worked counts bcrypt's work in rounds: 2^cost for each comparison.
func worked(s *server) *int {
	rounds := 0
	compare := s.compare
	s.compare = func(hash, password []byte) error {
		if cost, err := bcrypt.Cost(hash); err == nil {
			rounds += 1 << cost
		}
		return compare(hash, password)
	}
	return &rounds
}

// Neither text nor work of an answer may tell a name that is known from one that is not.
func TestAWrongNameIsAnsweredLikeAWrongPassword(t *testing.T) {
	s := started(t, HtpasswdConfig{Inline: configopaque.String(
		line(t, "cheap", "pass", 4) + line(t, "middle", "pass", 6) + line(t, "dear", "pass", 9))})
	rounds := worked(s)
	for _, credentials := range []string{
		"nobody:wrong", "cheap:wrong", "middle:wrong", "dear:wrong", "cheap:pass", "dear:pass",
	} {
		*rounds = 0
		err := in(s, basic(credentials))
		if *rounds != 1<<9 {
			t.Errorf("%s: %d rounds, %d is what everybody takes", credentials, *rounds, 1<<9)
		}
		if strings.HasSuffix(credentials, ":wrong") && err != errWrong {
			t.Errorf("%s: %v", credentials, err)
		}
	}
}

func TestWhatWasRightIsNotComputedAgain(t *testing.T) {
	s := started(t, HtpasswdConfig{Inline: configopaque.String(line(t, "agent", "pass", 4))})
	rounds := worked(s)
	for range 10 {
		if err := in(s, basic("agent:pass")); err != nil {
			t.Fatal(err)
		}
	}
	if *rounds != 1<<4 {
		t.Errorf("%d rounds of bcrypt for ten requests", *rounds)
	}
	for range 2 {
		if err := in(s, basic("agent:wrong")); err == nil {
			t.Error("a wrong password came in after a right one")
		}
	}
	if *rounds != 3<<4 {
		t.Error("what was wrong must not be remembered")
	}
}

// A neverMatches that bcrypt refuses as malformed would cost nothing.
func TestTheHashOfNobodyIsOneThatBcryptWorksOn(t *testing.T) {
	for _, cost := range []int{bcrypt.MinCost, 10, costMax} {
		if found, err := bcrypt.Cost(neverMatches(cost)); found != cost || err != nil {
			t.Errorf("cost %d: %d, %v", cost, found, err)
		}
	}
	err := bcrypt.CompareHashAndPassword(neverMatches(bcrypt.MinCost), []byte("x"))
	if err != bcrypt.ErrMismatchedHashAndPassword {
		t.Error(err)
	}
}

func TestAChangedFileCountsWithinASecond(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	core, logs := observer.New(zapcore.InfoLevel)
	now := time.Now()
	write(line(t, "agent", "old", 4) + line(t, "gone", "pass", 4))
	s := newServer(&Config{Htpasswd: &HtpasswdConfig{
		File: path, Inline: configopaque.String(line(t, "inline", "pass", 4)),
	}}, zap.New(core))
	s.source.now = func() time.Time { return now }
	if err := s.Start(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{"agent:old", "gone:pass", "inline:pass"} {
		if err := in(s, basic(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	write(line(t, "agent", "new", 4))
	if err := in(s, basic("agent:old")); err != nil {
		t.Error("within the second the file is not looked at:", err)
	}
	now = now.Add(lookEvery)
	for _, bad := range []string{"agent:old", "gone:pass"} {
		if err := in(s, basic(bad)); err == nil {
			t.Errorf("%s came in after it was taken away", bad)
		}
	}
	for _, good := range []string{"agent:new", "inline:pass"} {
		if err := in(s, basic(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}

	write("agent:plain-text\n")
	now = now.Add(lookEvery)
	if err := in(s, basic("agent:new")); err != nil {
		t.Error("a broken file must change nothing:", err)
	}
	if err := in(s, basic("agent:plain-text")); err == nil {
		t.Error("a password in clear came in")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		now = now.Add(lookEvery)
		if err := in(s, basic("agent:new")); err != nil {
			t.Error("a missing file must change nothing:", err)
		}
	}
	if errors := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); errors != 2 {
		t.Errorf("%d errors are logged, one for each of the two is right: %v", errors, logs.All())
	}
	for _, entry := range logs.All() {
		for _, value := range entry.ContextMap() {
			if text, ok := value.(string); ok && strings.Contains(text, "plain-text") {
				t.Error("the log shows a password:", text)
			}
		}
	}
}

func TestTheContentOfTheFileNeedsNoInline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	s := newServer(&Config{Htpasswd: &HtpasswdConfig{File: path}}, zap.NewNop())
	if err := s.Start(context.Background(), nil); err == nil {
		t.Error("without its users a Collector must not start")
	}
	if err := os.WriteFile(path, []byte(line(t, "agent", "pass", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := in(started(t, HtpasswdConfig{File: path}), basic("agent:pass")); err != nil {
		t.Error(err)
	}
}

func TestInlineUsersWinOverThoseOfTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(line(t, "agent", "file", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := started(t, HtpasswdConfig{
		File: path, Inline: configopaque.String(line(t, "agent", "inline", 4)),
	})
	if in(s, basic("agent:inline")) != nil || in(s, basic("agent:file")) == nil {
		t.Error("the official extension takes the inline one")
	}
}

func TestARequestThatIsGivenUpDoesNotWaitForItsCheck(t *testing.T) {
	s := started(t, HtpasswdConfig{Inline: configopaque.String(line(t, "agent", "pass", 4))})
	for range cap(s.checks) {
		s.checks <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Authenticate(ctx, map[string][]string{"Authorization": {basic("agent:pass")}})
	if err == nil || err.Error() != errBusy.Error() {
		t.Error(err)
	}
	<-s.checks
	if err := in(s, basic("agent:pass")); err != nil {
		t.Error(err)
	}
	s.checks <- struct{}{}
	if err := in(s, basic("agent:pass")); err != nil {
		t.Error("who is remembered needs no check:", err)
	}
}
