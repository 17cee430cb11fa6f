package elasticsearchexporter

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/plog"
)

// store is a server that keeps documents by id, as a data stream does, and can be told to fail.
type store struct {
	*httptest.Server
	mutex     sync.Mutex
	documents map[string]json.RawMessage
	requests  [][]string // ids of each request
	headers   []http.Header

	// whole answers a request by itself (status, body); status 0 leaves it to each.
	whole func(number int, ids []string) (int, string)
	// each gives the status and error type of one document; 0 stores it.
	each func(number int, id string, source json.RawMessage) (int, string)
}

func newStore(t *testing.T) *store {
	s := &store{documents: map[string]json.RawMessage{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *store) serve(writer http.ResponseWriter, request *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	ids, sources := readBulk(request)
	number := len(s.requests)
	s.requests = append(s.requests, ids)
	s.headers = append(s.headers, request.Header.Clone())
	if s.whole != nil {
		if status, body := s.whole(number, ids); status != 0 {
			writer.WriteHeader(status)
			_, _ = io.WriteString(writer, body)
			return
		}
	}
	items, failed := []any{}, false
	for i, id := range ids {
		status, kind := 0, ""
		if s.each != nil {
			status, kind = s.each(number, id, sources[i])
		}
		item := map[string]any{"status": status}
		_, exists := s.documents[id]
		switch {
		case status != 0:
			item["error"] = map[string]any{"type": kind, "reason": "because"}
			failed = true
		case exists:
			item["status"] = http.StatusConflict
			item["error"] = map[string]any{"type": "version_conflict_engine_exception"}
			failed = true
		default:
			s.documents[id] = sources[i]
			item["status"] = http.StatusCreated
		}
		items = append(items, map[string]any{"create": item})
	}
	_ = json.NewEncoder(writer).Encode(map[string]any{"errors": failed, "items": items})
}

func (s *store) count() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.documents)
}

func (s *store) requestCount() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.requests)
}

// behave changes the answers while requests may be under way.
func (s *store) behave(change func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change()
}

func readBulk(request *http.Request) (ids []string, sources []json.RawMessage) {
	var reader io.Reader = request.Body
	if request.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(request.Body)
		if err != nil {
			panic(err)
		}
		reader = unpacked
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		return nil, nil // the client went away
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		var action struct {
			Create struct {
				ID string `json:"_id"`
			} `json:"create"`
		}
		if err := json.Unmarshal([]byte(lines[i]), &action); err != nil {
			panic(err)
		}
		ids = append(ids, action.Create.ID)
		sources = append(sources, json.RawMessage(lines[i+1]))
	}
	return ids, sources
}

// testConfig is the default config for a server, with short delays and no queue.
func testConfig(endpoint string) *Config {
	config := createDefaultConfig().(*Config)
	config.Endpoints = []string{endpoint}
	config.Retry.InitialInterval = time.Millisecond
	config.Retry.MaxInterval = 4 * time.Millisecond
	return config
}

// started is an exporter without the helper's queue, so that a test sees what push returns.
func started(t *testing.T, config *Config) *logsExporter {
	t.Helper()
	t.Setenv(deadLetterVariable, t.TempDir())
	e, err := newLogsExporter(config, nopSettings())
	must(t, err)
	must(t, e.start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { e.stop(); e.close() })
	return e
}

func records(bodies ...string) plog.Logs {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", "agent")
	scope := resource.ScopeLogs().AppendEmpty()
	scope.Scope().SetName("test")
	for i, body := range bodies {
		record := scope.LogRecords().AppendEmpty()
		record.SetTimestamp(1_700_000_000_000_000_000)
		record.Body().SetStr(body)
		record.Attributes().PutInt("position", int64(i))
	}
	return logs
}

func many(from, count int) plog.Logs {
	bodies := make([]string, count)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("record %d", from+i)
	}
	return records(bodies...)
}

func deadLettersIn(t *testing.T, directory string) []deadLetter {
	t.Helper()
	entries, err := os.ReadDir(directory)
	must(t, err)
	var letters []deadLetter
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(directory, entry.Name()))
		must(t, err)
		for line := range bytes.Lines(content) {
			var letter deadLetter
			must(t, json.Unmarshal(line, &letter))
			letters = append(letters, letter)
		}
	}
	return letters
}

// memoryStorage is a storage extension whose content outlives the exporters that use it.
type memoryStorage struct {
	component.StartFunc
	component.ShutdownFunc
	mutex sync.Mutex
	data  map[string][]byte
}

var memoryStorageID = component.MustNewIDWithName("file_storage", "queue")

func (m *memoryStorage) GetClient(
	context.Context, component.Kind, component.ID, string,
) (storage.Client, error) {
	return m, nil
}

func (m *memoryStorage) Get(_ context.Context, key string) ([]byte, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.data[key], nil
}

func (m *memoryStorage) Set(ctx context.Context, key string, value []byte) error {
	return m.Batch(ctx, storage.SetOperation(key, value))
}

func (m *memoryStorage) Delete(ctx context.Context, key string) error {
	return m.Batch(ctx, storage.DeleteOperation(key))
}

func (m *memoryStorage) Batch(_ context.Context, operations ...*storage.Operation) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, operation := range operations {
		switch operation.Type {
		case storage.Get:
			operation.Value = m.data[operation.Key]
		case storage.Set:
			m.data[operation.Key] = bytes.Clone(operation.Value)
		case storage.Delete:
			delete(m.data, operation.Key)
		}
	}
	return nil
}

func (m *memoryStorage) Close(context.Context) error { return nil }

type storageHost struct{ storage *memoryStorage }

func (h storageHost) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{memoryStorageID: h.storage}
}

// queued is the whole exporter with its queue on a storage.
func queued(t *testing.T, config *Config, kept *memoryStorage) exporter.Logs {
	t.Helper()
	id := memoryStorageID
	config.Queue.Get().StorageID = &id
	logs, err := NewFactory().CreateLogs(
		context.Background(), nopSettings(), config)
	must(t, err)
	must(t, logs.Start(context.Background(), storageHost{kept}))
	return logs
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
