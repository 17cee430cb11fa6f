package elasticsearchexporter

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

const (
	// indexedBytesMax bounds key plus value of what is indexed. Lucene refuses a term of more than
	// 32,766 bytes, and with it the whole document; a path may stand before the value.
	indexedBytesMax = 8 << 10

	// depthMax bounds nested maps; Elasticsearch refuses more than 20 levels of a flattened field.
	depthMax = 10
)

// document is one log record on its way to the server.
type document struct {
	id     string
	source []byte

	// failingSince is when the server, while it answered, first failed this document (zero: not).
	failingSince time.Time
}

// size is about how many bytes the document adds to a bulk request.
func (d *document) size() int { return len(d.source) + len(d.id) + 32 }

// encode makes the documents of all records; now is the time of a record that has none.
//
// The id is a hash of the record with its resource and scope, so that a record sent twice is one
// document. Records that are equal in one request are told apart by counting them.
func encode(logs plog.Logs, now time.Time) ([]*document, error) {
	documents := make([]*document, 0, logs.LogRecordCount())
	seen := map[string]int{}
	for _, resourceLogs := range logs.ResourceLogs().All() {
		for _, scopeLogs := range resourceLogs.ScopeLogs().All() {
			for _, record := range scopeLogs.LogRecords().All() {
				doc, err := encodeRecord(resourceLogs, scopeLogs, record, now)
				if err != nil {
					return nil, err
				}
				count := seen[doc.id]
				seen[doc.id] = count + 1
				if count > 0 {
					doc.id += "-" + strconv.Itoa(count)
				}
				documents = append(documents, doc)
			}
		}
	}
	return documents, nil
}

func encodeRecord(
	resourceLogs plog.ResourceLogs, scopeLogs plog.ScopeLogs, record plog.LogRecord, now time.Time,
) (*document, error) {
	fields, unindexed := map[string]any{}, map[string]any{}
	setTimes(fields, record)
	setBody(fields, unindexed, record.Body())
	setText(fields, "severity_text", record.SeverityText())
	setText(fields, "event_name", record.EventName())
	if record.SeverityNumber() != 0 {
		fields["severity_number"] = int32(record.SeverityNumber())
	}
	if !record.TraceID().IsEmpty() {
		fields["trace_id"] = record.TraceID().String()
	}
	if !record.SpanID().IsEmpty() {
		fields["span_id"] = record.SpanID().String()
	}
	if record.Flags() != 0 {
		fields["flags"] = uint32(record.Flags())
	}
	if record.DroppedAttributesCount() != 0 {
		fields["dropped_attributes_count"] = record.DroppedAttributesCount()
	}
	setAttributes(fields, unindexed, "attributes", record.Attributes())
	setResource(fields, unindexed, resourceLogs)
	setScope(fields, unindexed, scopeLogs)
	if len(unindexed) > 0 {
		fields["unindexed"] = unindexed
	}

	source, err := marshal(fields)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(source)
	doc := &document{id: base64.RawURLEncoding.EncodeToString(digest[:18]), source: source}
	if _, ok := fields["@timestamp"]; !ok {
		// A data stream demands a time. It is no part of the id, which must be the same next time.
		fields["@timestamp"] = now.UTC().Format(time.RFC3339Nano)
		doc.source, err = marshal(fields)
	}
	return doc, err
}

func setTimes(fields map[string]any, record plog.LogRecord) {
	observed, hasObserved := timeOf(record.ObservedTimestamp())
	if hasObserved {
		fields["observed_timestamp"] = observed
	}
	if occurred, ok := timeOf(record.Timestamp()); ok {
		fields["@timestamp"] = occurred
	} else if hasObserved {
		fields["@timestamp"] = observed
	}
}

// timeOf is the time as both servers read it, unless there is none or their date_nanos, which ends
// in 2262 with a signed count of nanoseconds, cannot hold it.
func timeOf(timestamp pcommon.Timestamp) (string, bool) {
	if timestamp == 0 || timestamp > math.MaxInt64 {
		return "", false
	}
	return timestamp.AsTime().Format(time.RFC3339Nano), true
}

func setBody(fields, unindexed map[string]any, body pcommon.Value) {
	switch body.Type() {
	case pcommon.ValueTypeEmpty:
	case pcommon.ValueTypeMap:
		structured := jsonValue(body, 0)
		if longest(structured) > indexedBytesMax {
			unindexed["body"] = structured
			return
		}
		fields["body"] = map[string]any{"structured": structured}
	default:
		fields["body"] = map[string]any{"text": body.AsString()}
	}
}

func setText(fields map[string]any, name, text string) {
	if text != "" {
		fields[name] = text
	}
}

func setResource(fields, unindexed map[string]any, logs plog.ResourceLogs) {
	resource := map[string]any{}
	setText(resource, "schema_url", logs.SchemaUrl())
	attributes := logs.Resource().Attributes()
	kept := map[string]any{}
	setAttributes(resource, kept, "attributes", attributes)
	if moved, ok := kept["attributes"]; ok {
		unindexed["resource_attributes"] = moved
	}
	if len(resource) > 0 {
		fields["resource"] = resource
	}
	// Flat fields can be searched but not counted by value; this one everybody counts by.
	if name, ok := attributes.Get("service.name"); ok {
		setText(fields, "service.name", name.AsString())
	}
}

func setScope(fields, unindexed map[string]any, logs plog.ScopeLogs) {
	scope, kept := map[string]any{}, map[string]any{}
	setText(scope, "name", logs.Scope().Name())
	setText(scope, "version", logs.Scope().Version())
	setText(scope, "schema_url", logs.SchemaUrl())
	setAttributes(scope, kept, "attributes", logs.Scope().Attributes())
	if moved, ok := kept["attributes"]; ok {
		unindexed["scope_attributes"] = moved
	}
	if len(scope) > 0 {
		fields["scope"] = scope
	}
}

// setAttributes writes the attributes under their own, dotted keys. The template maps them as one
// flat field, where `a` beside `a.b`, or a number beside a text, is no conflict. What is too long
// to be indexed is kept beside them, in a field that is stored but not indexed.
func setAttributes(
	fields, unindexed map[string]any, name string, attributes pcommon.Map,
) {
	indexed, moved := map[string]any{}, map[string]any{}
	for key, value := range attributes.All() {
		converted := jsonValue(value, 0)
		if len(key)+longest(converted) > indexedBytesMax {
			moved[key] = converted
		} else {
			indexed[key] = converted
		}
	}
	if len(indexed) > 0 {
		fields[name] = indexed
	}
	if len(moved) > 0 {
		unindexed[name] = moved
	}
}

// jsonValue is the value as encoding/json can write it; what JSON has no word for becomes text.
func jsonValue(value pcommon.Value, depth int) any {
	switch value.Type() {
	case pcommon.ValueTypeMap:
		if depth >= depthMax {
			return value.AsString()
		}
		object := make(map[string]any, value.Map().Len())
		for key, each := range value.Map().All() {
			object[key] = jsonValue(each, depth+1)
		}
		return object
	case pcommon.ValueTypeSlice:
		if depth >= depthMax {
			return value.AsString()
		}
		list := make([]any, 0, value.Slice().Len())
		for _, each := range value.Slice().All() {
			list = append(list, jsonValue(each, depth+1))
		}
		return list
	case pcommon.ValueTypeDouble:
		number := value.Double()
		if math.IsNaN(number) || math.IsInf(number, 0) {
			return strconv.FormatFloat(number, 'g', -1, 64)
		}
		return number
	case pcommon.ValueTypeBool:
		return value.Bool()
	case pcommon.ValueTypeInt:
		return value.Int()
	case pcommon.ValueTypeEmpty:
		return nil
	default:
		return value.AsString()
	}
}

// longest is the length of the longest text in a value together with the path to it.
func longest(value any) int {
	switch typed := value.(type) {
	case string:
		return len(typed)
	case []any:
		most := 0
		for _, each := range typed {
			most = max(most, longest(each))
		}
		return most
	case map[string]any:
		most := 0
		for key, each := range typed {
			most = max(most, len(key)+1+longest(each))
		}
		return most
	default:
		return 0
	}
}

// marshal writes JSON with sorted keys (encoding/json sorts those of maps), in one line.
func marshal(fields map[string]any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(fields); err != nil {
		return nil, fmt.Errorf("a log record cannot be written as JSON: %w", err)
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}
