package elasticsearchexporter

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
)

func TestOnlyTheDocumentsThatFailedAreSentAgain(t *testing.T) {
	server := newStore(t)
	failing := ""
	server.each = func(number int, id string, _ json.RawMessage) (int, string) {
		if number == 0 && failing == "" {
			failing = id
		}
		if number < 3 && id == failing {
			return http.StatusTooManyRequests, "es_rejected_execution_exception"
		}
		return 0, ""
	}
	must(t, started(t, testConfig(server.URL)).push(context.Background(), many(0, 5)))

	if server.count() != 5 {
		t.Errorf("the store has %d documents, want 5", server.count())
	}
	if len(server.requests) != 4 || len(server.requests[0]) != 5 {
		t.Fatalf("requests: %v", server.requests)
	}
	for _, ids := range server.requests[1:] {
		if !slices.Equal(ids, []string{failing}) {
			t.Errorf("sent again: %v, want only %s", ids, failing)
		}
	}
}

func TestAReplayIsAnsweredAsDuplicateAndIsDone(t *testing.T) {
	server := newStore(t)
	e := started(t, testConfig(server.URL))
	for range 3 {
		must(t, e.push(context.Background(), many(0, 4)))
	}
	if server.count() != 4 || len(server.requests) != 3 {
		t.Errorf("%d documents after %d requests, want 4 after 3",
			server.count(), len(server.requests))
	}
}

func TestEqualRecordsOfOneRequestAreAllStored(t *testing.T) {
	server := newStore(t)
	logs := records("same", "same", "same")
	for _, record := range logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
		record.Attributes().Clear()
	}
	must(t, started(t, testConfig(server.URL)).push(context.Background(), logs))
	if server.count() != 3 {
		t.Errorf("the store has %d documents, want 3", server.count())
	}
}

// Each of these says nothing about the documents; they must all arrive in the end.
func TestWhatTheServerCannotTakeNowIsRetriedWithoutEnd(t *testing.T) {
	const failures = 40 // far beyond what any default number of retries would bear
	for _, status := range []int{400, 401, 403, 404, 408, 429, 500, 502, 503, 504} {
		server := newStore(t)
		server.whole = func(number int, _ []string) (int, string) {
			if number < failures {
				return status, `{"error":"not now"}`
			}
			return 0, ""
		}
		e := started(t, testConfig(server.URL))
		must(t, e.push(context.Background(), many(0, 3)))
		if server.count() != 3 || len(server.requests) != failures+1 {
			t.Errorf("status %d: %d documents after %d requests",
				status, server.count(), len(server.requests))
		}
		if letters := deadLettersIn(t, e.deadLetters.directory); len(letters) != 0 {
			t.Errorf("status %d made %d dead letters", status, len(letters))
		}
	}
}

func TestARefusedConnectionIsRetriedOnTheNextNode(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	server := newStore(t)
	config := testConfig(server.URL)
	config.Endpoints = []string{gone.URL, server.URL + "/"}
	must(t, started(t, config).push(context.Background(), many(0, 2)))
	if server.count() != 2 {
		t.Errorf("the store has %d documents, want 2", server.count())
	}
}

func TestAnAnswerThatIsNoneOfABulkRequestIsRetried(t *testing.T) {
	server := newStore(t)
	answers := []string{"<html>welcome</html>", `{"errors":false,"items":[]}`, `{"items":[{}]}`,
		`{"errors":true,"items":[{"create":{}}]}`}
	server.whole = func(number int, _ []string) (int, string) {
		if number < len(answers) {
			return http.StatusOK, answers[number]
		}
		return 0, ""
	}
	must(t, started(t, testConfig(server.URL)).push(context.Background(), many(0, 1)))
	if server.count() != 1 {
		t.Error("the document is not in the store")
	}
}

func TestRecordedAnswersAreUnderstood(t *testing.T) {
	for _, test := range []struct {
		file string
		want []verdict
	}{
		{"opensearch-2.19.6-mixed.json", []verdict{isDuplicate, isStored, isRejected}},
		{"elasticsearch-mixed.json", []verdict{isDuplicate, isStored, isRejected}},
		{"opensearch-2.19.6-blocked.json", []verdict{isRetryable}},
		{"opensearch-2.19.6-disk-full.json", []verdict{isRetryable}},
		{"opensearch-2.19.6-no-index.json", []verdict{isRetryable}},
		{"elasticsearch-overloaded.json", []verdict{isRetryable}},
	} {
		body, err := os.ReadFile(filepath.Join("testdata", "bulk", test.file))
		must(t, err)
		answers, err := parseAnswers(body, len(test.want))
		must(t, err)
		e := started(t, testConfig("http://127.0.0.1:9"))
		for i, answer := range answers {
			if got := e.classify(answer); got != test.want[i] {
				t.Errorf("%s, document %d: verdict %d, want %d", test.file, i, got, test.want[i])
			}
			if answer.Status != http.StatusCreated && answer.errorType() == "" {
				t.Errorf("%s, document %d: no error type", test.file, i)
			}
		}
	}
}

func TestARejectedDocumentGoesToTheDeadLettersWithItsReason(t *testing.T) {
	server := newStore(t)
	server.each = func(_ int, _ string, source json.RawMessage) (int, string) {
		if strings.Contains(string(source), "record 1") {
			return http.StatusBadRequest, "mapper_parsing_exception"
		}
		return 0, ""
	}
	e := started(t, testConfig(server.URL))
	must(t, e.push(context.Background(), many(0, 3)))

	letters := deadLettersIn(t, e.deadLetters.directory)
	if server.count() != 2 || len(letters) != 1 {
		t.Fatalf("%d documents and %d dead letters, want 2 and 1", server.count(), len(letters))
	}
	letter := letters[0]
	if letter.Status != 400 || letter.Reason != "rejected" || letter.ID == "" ||
		letter.Index != defaultLogsIndex ||
		!strings.Contains(string(letter.Error), "mapper_parsing_exception") ||
		!strings.Contains(string(letter.Document), "record 1") {
		t.Errorf("dead letter: %+v", letter)
	}
	if len(server.requests) != 1 {
		t.Errorf("%d requests for documents that were all decided by the first",
			len(server.requests))
	}
}

func TestADocumentIsSentAgainWhenItsDeadLetterCannotBeWritten(t *testing.T) {
	server := newStore(t)
	server.each = func(int, string, json.RawMessage) (int, string) {
		return http.StatusBadRequest, "mapper_parsing_exception"
	}
	e := started(t, testConfig(server.URL))
	real, failures := e.deadLetters.open, 0
	must(t, e.deadLetters.close())
	e.deadLetters.open = func(path string) (syncFile, error) {
		file, err := real(path)
		if failures < 3 {
			failures++
			return failingSync{file}, err
		}
		return file, err
	}
	must(t, e.push(context.Background(), many(0, 2)))
	if letters := deadLettersIn(t, e.deadLetters.directory); len(letters) != 2 {
		t.Errorf("%d dead letters, want 2 (each once)", len(letters))
	}
	if len(server.requests) != 4 {
		t.Errorf("%d requests, want one for each failed write and one more", len(server.requests))
	}
}

type failingSync struct{ syncFile }

func (f failingSync) Sync() error { return errors.New("no space left on device") }

func TestADocumentThatFailsAloneForADayGoesToTheDeadLetters(t *testing.T) {
	server := newStore(t)
	server.each = func(_ int, _ string, source json.RawMessage) (int, string) {
		if strings.Contains(string(source), "record 0") {
			return http.StatusInternalServerError, "script_exception"
		}
		return 0, ""
	}
	e := started(t, testConfig(server.URL))
	clock := newTestClock(e)
	others := 0
	e.after = func(time.Duration) <-chan time.Time { // each retry is two hours later
		clock.advance(2 * time.Hour)
		others++
		must(t, e.push(context.Background(), many(others, 1)))
		return closedTimer()
	}
	must(t, e.push(context.Background(), many(0, 1)))

	letters := deadLettersIn(t, e.deadLetters.directory)
	if len(letters) != 1 || letters[0].Reason != "failed alone for 24 h" {
		t.Fatalf("dead letters: %+v", letters)
	}
	if others != 12 {
		t.Errorf("given up after %d retries of two hours, want 12", others)
	}
}

// Neither an outage nor overload nor a store that takes nothing is the document's fault.
func TestAnOutageOfDaysMakesNoDeadLetters(t *testing.T) {
	hours := 0
	for name, behave := range map[string]func(*store){
		"the node answers 503": func(s *store) {
			s.whole = func(int, []string) (int, string) {
				if hours < 100 {
					return http.StatusServiceUnavailable, ""
				}
				return 0, ""
			}
		},
		"the shard is not there": func(s *store) {
			s.each = func(int, string, json.RawMessage) (int, string) {
				if hours < 100 {
					return http.StatusServiceUnavailable, "unavailable_shards_exception"
				}
				return 0, ""
			}
		},
		"overload": func(s *store) {
			s.each = func(_ int, _ string, source json.RawMessage) (int, string) {
				if hours < 100 && strings.Contains(string(source), "record 0") {
					return http.StatusTooManyRequests, "es_rejected_execution_exception"
				}
				return 0, ""
			}
		},
	} {
		hours = 0
		server := newStore(t)
		behave(server)
		e := started(t, testConfig(server.URL))
		clock := newTestClock(e)
		e.after = func(time.Duration) <-chan time.Time {
			hours++
			clock.advance(time.Hour)
			return closedTimer()
		}
		must(t, e.push(context.Background(), many(0, 3)))
		if letters := deadLettersIn(t, e.deadLetters.directory); len(letters) != 0 {
			t.Errorf("%s: %d dead letters", name, len(letters))
		}
		if server.count() != 3 {
			t.Errorf("%s: %d of 3 documents in the store", name, server.count())
		}
	}
}

func TestARequestThatIsTooLargeIsCutAndASingleDocumentIsBuried(t *testing.T) {
	server := newStore(t)
	server.whole = func(_ int, ids []string) (int, string) {
		if len(ids) > 2 {
			return http.StatusRequestEntityTooLarge, ""
		}
		return 0, ""
	}
	e := started(t, testConfig(server.URL))
	must(t, e.push(context.Background(), many(0, 9)))
	if server.count() != 9 {
		t.Errorf("%d of 9 documents in the store", server.count())
	}

	server.whole = func(int, []string) (int, string) { return http.StatusRequestEntityTooLarge, "" }
	must(t, e.push(context.Background(), many(100, 2)))
	letters := deadLettersIn(t, e.deadLetters.directory)
	if len(letters) != 2 || letters[0].Status != 413 {
		t.Errorf("dead letters: %+v", letters)
	}
}

func TestRequestsAreBoundedInBytes(t *testing.T) {
	server := newStore(t)
	big := strings.Repeat("x", 2<<20)
	must(t, started(t, testConfig(server.URL)).push(
		context.Background(), records(big+"1", big+"2", big+"3", big+"4", big+"5")))
	if len(server.requests) != 3 || server.count() != 5 {
		t.Errorf("%d requests for %d documents of 2 MiB, want 3 for 5",
			len(server.requests), server.count())
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	var waited []time.Duration
	asked := true
	server := httptest.NewServer(http.HandlerFunc(
		func(writer http.ResponseWriter, _ *http.Request) {
			if asked {
				asked = false
				writer.Header().Set("Retry-After", "7")
				writer.WriteHeader(http.StatusTooManyRequests)
				return
			}
			_, _ = writer.Write([]byte(`{"errors":false,"items":[{"create":{"status":201}}]}`))
		}))
	t.Cleanup(server.Close)
	e := started(t, testConfig(server.URL))
	e.after = func(wait time.Duration) <-chan time.Time {
		waited = append(waited, wait)
		return closedTimer()
	}
	must(t, e.push(context.Background(), many(0, 1)))
	if !slices.Equal(waited, []time.Duration{7 * time.Second}) {
		t.Errorf("waited %v, want 7 s once", waited)
	}
	if got := retryAfter("Thu, 01 Jan 1970 00:00:09 GMT", time.Unix(4, 0)); got != 5*time.Second {
		t.Errorf("Retry-After as a date: %v, want 5 s", got)
	}
}

func TestDelaysGrowToTheLimitAndStartAgainAfterProgress(t *testing.T) {
	var waits []time.Duration
	server := newStore(t)
	server.each = func(number int, id string, _ json.RawMessage) (int, string) {
		if number < 5 || (number < 7 && id == server.requests[0][0]) {
			return http.StatusServiceUnavailable, "unavailable_shards_exception"
		}
		return 0, ""
	}
	config := testConfig(server.URL)
	config.Retry.InitialInterval = 100 * time.Millisecond
	config.Retry.MaxInterval = 400 * time.Millisecond
	e := started(t, config)
	e.after = func(wait time.Duration) <-chan time.Time {
		waits = append(waits, wait)
		return closedTimer()
	}
	must(t, e.push(context.Background(), many(0, 2)))
	for i, most := range []time.Duration{100, 200, 400, 400, 400, 100, 200} {
		most *= time.Millisecond
		if i >= len(waits) || waits[i] < most/2 || waits[i] > most {
			t.Fatalf("waits %v: number %d is not between half of %v and all of it", waits, i, most)
		}
	}
}

func TestAuthenticationIsSentAndRequestsAreCompressed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":                   func(*Config) {},
		"Basic dXNlcjpwYXNz": func(c *Config) { c.User, c.Password = "user", "pass" },
		"ApiKey a2V5":        func(c *Config) { c.APIKey = "a2V5" },
	} {
		server := newStore(t)
		config := testConfig(server.URL)
		change(config)
		must(t, config.Validate())
		must(t, started(t, config).push(context.Background(), many(0, 1)))
		if got := server.headers[0].Get("Authorization"); got != want {
			t.Errorf("Authorization %q, want %q", got, want)
		}
		if got := server.headers[0].Get("Content-Encoding"); got != "gzip" {
			t.Errorf("Content-Encoding %q, want gzip", got)
		}
	}
}

func TestWithoutAQueueTheClientIsToldThatTheRecordsAreNotStored(t *testing.T) {
	server := newStore(t)
	server.whole = func(int, []string) (int, string) { return http.StatusServiceUnavailable, "" }
	config := testConfig(server.URL)
	config.Queue = configoptional.None[exporterhelper.QueueBatchConfig]()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := started(t, config).push(ctx, many(0, 1)); err == nil {
		t.Error("success was reported for a record that nobody has")
	}
}

func TestShutdownEndsAPushThatWaitsAndKeepsItsRecords(t *testing.T) {
	server := newStore(t)
	server.whole = func(int, []string) (int, string) { return http.StatusServiceUnavailable, "" }
	config := testConfig(server.URL)
	config.Retry.InitialInterval, config.Retry.MaxInterval = time.Hour, time.Hour
	e := started(t, config)
	result := make(chan error, 1)
	go func() { result <- e.push(context.Background(), many(0, 1)) }()
	eventually(t, "the first request", func() bool { return server.requestCount() > 0 })
	e.stop()
	if err := <-result; !errors.Is(err, errStopping) {
		t.Errorf("push returned %v, want errStopping", err)
	}
}

// The promise as a whole: what the queue has accepted is in the store once, or a dead letter,
// through an outage and two restarts.
func TestNothingIsLostOrDoubledOverAnOutageAndRestarts(t *testing.T) {
	t.Setenv(deadLetterVariable, t.TempDir())
	server, kept := newStore(t), &memoryStorage{data: map[string][]byte{}}
	var down atomic.Bool
	server.whole = func(int, []string) (int, string) {
		if down.Load() {
			return http.StatusServiceUnavailable, ""
		}
		return 0, ""
	}
	server.each = func(number int, id string, _ json.RawMessage) (int, string) {
		if (number+int(id[0]))%3 == 0 { // a third fails at any time
			return http.StatusTooManyRequests, "es_rejected_execution_exception"
		}
		return 0, ""
	}
	sent := 0
	for round := range 3 {
		logs := queued(t, testConfig(server.URL), kept)
		down.Store(round == 1)
		for range 10 {
			must(t, logs.ConsumeLogs(context.Background(), many(sent, 10)))
			sent += 10
		}
		if round == 2 {
			eventually(t, "all records in the store", func() bool { return server.count() >= sent })
		}
		must(t, logs.Shutdown(context.Background()))
	}
	if server.count() != sent {
		t.Errorf("%d documents for %d records", server.count(), sent)
	}
}

// The saboteur of the test above: a client without an id for a record stores replays twice.
func TestWithoutStableIdsAReplayIsStoredTwice(t *testing.T) {
	server := newStore(t)
	e := started(t, testConfig(server.URL))
	for range 2 {
		documents, err := encode(many(0, 1), time.Now())
		must(t, err)
		documents[0].id = time.Now().Format(time.RFC3339Nano)
		_, err = e.bulk.send(context.Background(), documents)
		must(t, err)
	}
	if server.count() != 2 {
		t.Errorf("%d documents: ids are not what keeps a replay from being stored twice",
			server.count())
	}
}

func TestShutdownBeforeStartAndTwiceIsHarmless(t *testing.T) {
	t.Setenv(deadLetterVariable, t.TempDir())
	logs := queued(t, testConfig("http://127.0.0.1:9"), &memoryStorage{data: map[string][]byte{}})
	must(t, logs.Shutdown(context.Background()))
}

func TestStartSaysWhichSettingToChangeWhenDeadLettersCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	t.Setenv(deadLetterVariable, filepath.Join(file, "below"))
	e, err := newLogsExporter(testConfig("http://127.0.0.1:9"), nopSettings())
	must(t, err)
	err = e.start(context.Background(), componenttest.NewNopHost())
	if err == nil || !strings.Contains(err.Error(), deadLetterVariable) {
		t.Errorf("start returned %v, want an error that names %s", err, deadLetterVariable)
	}
}

// testClock is moved by the test and never by itself.
type testClock struct{ nanoseconds atomic.Int64 }

func newTestClock(e *logsExporter) *testClock {
	clock := &testClock{}
	clock.nanoseconds.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	e.now = func() time.Time { return time.Unix(0, clock.nanoseconds.Load()) }
	return clock
}

func (c *testClock) advance(by time.Duration) { c.nanoseconds.Add(int64(by)) }

func closedTimer() <-chan time.Time {
	done := make(chan time.Time)
	close(done)
	return done
}
