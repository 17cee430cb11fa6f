package elasticsearchexporter

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

var encodedAt = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

func encodeOne(t *testing.T, fill func(plog.ResourceLogs, plog.ScopeLogs, plog.LogRecord)) (
	*document, map[string]any,
) {
	t.Helper()
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	scope := resource.ScopeLogs().AppendEmpty()
	fill(resource, scope, scope.LogRecords().AppendEmpty())
	documents, err := encode(logs, encodedAt)
	must(t, err)
	var fields map[string]any
	must(t, json.Unmarshal(documents[0].source, &fields))
	if strings.Contains(string(documents[0].source), "\n") {
		t.Error("a document of more than one line breaks the request")
	}
	return documents[0], fields
}

func TestADocumentHasTheWholeRecord(t *testing.T) {
	_, fields := encodeOne(t, func(resource plog.ResourceLogs, scope plog.ScopeLogs, record plog.LogRecord) {
		resource.SetSchemaUrl("https://example.com/resource")
		resource.Resource().Attributes().PutStr("service.name", "agent")
		scope.SetSchemaUrl("https://example.com/scope")
		scope.Scope().SetName("kaizen_otel")
		scope.Scope().SetVersion("1")
		scope.Scope().Attributes().PutBool("stable", true)
		record.SetTimestamp(1_700_000_000_123_456_789)
		record.SetObservedTimestamp(1_700_000_001_000_000_000)
		record.SetSeverityNumber(9)
		record.SetSeverityText("INFO")
		record.SetEventName("gen_ai.tool.message")
		record.SetTraceID([16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
		record.SetSpanID([8]byte{1, 2, 3, 4, 5, 6, 7, 8})
		record.SetFlags(1)
		record.SetDroppedAttributesCount(2)
		record.Body().SetStr("a <b> & \"c\"\nd")
		record.Attributes().PutStr("gen_ai.tool.name", "search")
		record.Attributes().PutInt("n", 1<<53+1)
	})
	want := map[string]any{
		"@timestamp":               "2023-11-14T22:13:20.123456789Z",
		"observed_timestamp":       "2023-11-14T22:13:21Z",
		"severity_number":          9.0,
		"severity_text":            "INFO",
		"event_name":               "gen_ai.tool.message",
		"trace_id":                 "0102030405060708090a0b0c0d0e0f10",
		"span_id":                  "0102030405060708",
		"flags":                    1.0,
		"dropped_attributes_count": 2.0,
		"body":                     map[string]any{"text": "a <b> & \"c\"\nd"},
		"attributes":               map[string]any{"gen_ai.tool.name": "search", "n": float64(1<<53 + 1)},
		"service.name":             "agent",
		"resource": map[string]any{
			"schema_url": "https://example.com/resource",
			"attributes": map[string]any{"service.name": "agent"},
		},
		"scope": map[string]any{
			"schema_url": "https://example.com/scope", "name": "kaizen_otel", "version": "1",
			"attributes": map[string]any{"stable": true},
		},
	}
	if !reflect.DeepEqual(fields, want) {
		t.Errorf("got  %v\nwant %v", fields, want)
	}
}

func TestEveryKindOfValueHasAPlaceInJSON(t *testing.T) {
	_, fields := encodeOne(t, func(_ plog.ResourceLogs, _ plog.ScopeLogs, record plog.LogRecord) {
		attributes := record.Attributes()
		attributes.PutStr("a", "x")
		attributes.PutStr("a.b", "beside a")
		attributes.PutDouble("nan", math.NaN())
		attributes.PutDouble("infinity", math.Inf(-1))
		attributes.PutDouble("half", 0.5)
		attributes.PutEmpty("empty")
		attributes.PutEmptyBytes("bytes").Append(0xff, 0)
		attributes.PutStr("invalid", "\xff")
		list := attributes.PutEmptySlice("list")
		list.AppendEmpty().SetInt(1)
		list.AppendEmpty().SetEmptyMap().PutBool("inner", true)
	})
	want := map[string]any{
		"a": "x", "a.b": "beside a", "nan": "NaN", "infinity": "-Inf", "half": 0.5, "empty": nil,
		"bytes": "/wA=", "invalid": "\ufffd", "list": []any{1.0, map[string]any{"inner": true}},
	}
	if !reflect.DeepEqual(fields["attributes"], want) {
		t.Errorf("got  %v\nwant %v", fields["attributes"], want)
	}
}

func TestAMapAsBodyIsStructured(t *testing.T) {
	_, fields := encodeOne(t, func(_ plog.ResourceLogs, _ plog.ScopeLogs, record plog.LogRecord) {
		record.Body().SetEmptyMap().PutStr("k", "v")
	})
	want := map[string]any{"structured": map[string]any{"k": "v"}}
	if !reflect.DeepEqual(fields["body"], want) {
		t.Errorf("body %v, want %v", fields["body"], want)
	}
}

// Lucene refuses the whole document for one term of more than 32,766 bytes.
func TestWhatIsTooLongForAnIndexIsKeptUnindexed(t *testing.T) {
	long := strings.Repeat("x", 40_000)
	_, fields := encodeOne(t, func(resource plog.ResourceLogs, scope plog.ScopeLogs, record plog.LogRecord) {
		resource.Resource().Attributes().PutStr("long", long)
		scope.Scope().Attributes().PutStr("long", long)
		record.Body().SetEmptyMap().PutStr("long", long)
		record.Attributes().PutStr("long", long)
		record.Attributes().PutEmptySlice("list").AppendEmpty().SetStr(long)
		record.Attributes().PutStr("short", "x")
	})
	want := map[string]any{
		"attributes":          map[string]any{"long": long, "list": []any{long}},
		"body":                map[string]any{"long": long},
		"resource_attributes": map[string]any{"long": long},
		"scope_attributes":    map[string]any{"long": long},
	}
	if !reflect.DeepEqual(fields["unindexed"], want) {
		t.Error("what is too long is not where it should be")
	}
	if !reflect.DeepEqual(fields["attributes"], map[string]any{"short": "x"}) {
		t.Errorf("attributes %v", fields["attributes"])
	}
}

func TestDeepNestingEndsInText(t *testing.T) {
	_, fields := encodeOne(t, func(_ plog.ResourceLogs, _ plog.ScopeLogs, record plog.LogRecord) {
		value := record.Attributes().PutEmpty("deep")
		for range 50 {
			value = value.SetEmptyMap().PutEmpty("k")
		}
		value.SetStr("bottom")
	})
	depth := 0
	var value any = fields["attributes"]
	for {
		object, ok := value.(map[string]any)
		if !ok {
			break
		}
		depth++
		for _, each := range object {
			value = each
		}
	}
	if text, ok := value.(string); !ok || !strings.Contains(text, "bottom") || depth > 12 {
		t.Errorf("after %d levels: %v", depth, value)
	}
}

func TestARecordWithoutATimeGetsOneThatIsNoPartOfItsId(t *testing.T) {
	logs := plog.NewLogs()
	record := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.Body().SetStr("x")
	first, err := encode(logs, encodedAt)
	must(t, err)
	second, err := encode(logs, encodedAt.Add(time.Hour))
	must(t, err)
	if first[0].id != second[0].id {
		t.Error("the id changes with the time of sending: a replay would be stored twice")
	}
	if !strings.Contains(string(first[0].source), `"@timestamp":"2026-11-24T10:00:00Z"`) {
		t.Errorf("source %s", first[0].source)
	}
	for _, unusable := range []uint64{math.MaxInt64 + 1, math.MaxUint64} { // after 2262
		_, fields := encodeOne(t, func(_ plog.ResourceLogs, _ plog.ScopeLogs, r plog.LogRecord) {
			r.SetTimestamp(pcommon.Timestamp(unusable))
		})
		if fields["@timestamp"] != "2026-11-24T10:00:00Z" {
			t.Errorf("time %d became %v", unusable, fields["@timestamp"])
		}
	}
}

func TestTheIdDependsOnEveryPartOfARecord(t *testing.T) {
	fill := func(change string) func(plog.ResourceLogs, plog.ScopeLogs, plog.LogRecord) {
		return func(resource plog.ResourceLogs, scope plog.ScopeLogs, record plog.LogRecord) {
			resource.Resource().Attributes().PutStr("service.name", "agent"+part(change, "resource"))
			scope.Scope().SetName("scope" + part(change, "scope"))
			record.Body().SetStr("body" + part(change, "body"))
			record.Attributes().PutStr("k", "v"+part(change, "attribute"))
			record.SetEventName("event" + part(change, "event"))
			record.SetTimestamp(pcommon.Timestamp(uint64(1 + len(part(change, "time")))))
		}
	}
	seen := map[string]string{}
	for _, change := range []string{"", "resource", "scope", "body", "attribute", "event", "time"} {
		doc, _ := encodeOne(t, fill(change))
		if other, ok := seen[doc.id]; ok {
			t.Errorf("a change of %q and of %q give the same id", change, other)
		}
		seen[doc.id] = change
		again, _ := encodeOne(t, fill(change))
		if again.id != doc.id {
			t.Errorf("the id of the same record (%q) is not stable", change)
		}
	}
}

func part(change, name string) string {
	if change == name {
		return "!"
	}
	return ""
}
