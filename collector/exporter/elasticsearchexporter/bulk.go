package elasticsearchexporter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// answerBytesMax bounds what is read of an answer.
	answerBytesMax = 64 << 20

	// errorBytesShown bounds what is told of a failed request's answer.
	errorBytesShown = 300

	// bulkPath asks for what decides about a document, and for nothing that would repeat it.
	bulkPath = "/_bulk?filter_path=errors,items.*.status,items.*.error"
)

// itemAnswer is what the server says about one document.
type itemAnswer struct {
	Status int             `json:"status"`
	Error  json.RawMessage `json:"error"`
}

// errorType is the server's name for the error, empty if it gave none.
func (a itemAnswer) errorType() string {
	var parsed struct {
		Type string `json:"type"`
	}
	_ = json.Unmarshal(a.Error, &parsed) // an error that is a plain text has no type
	return parsed.Type
}

// requestError is a bulk request that brought no answer about its documents.
type requestError struct {
	status     int // 0: no answer at all
	retryAfter time.Duration
	err        error
}

func (e *requestError) Error() string { return e.err.Error() }

func (e *requestError) Unwrap() error { return e.err }

// bulkClient sends bulk requests to the nodes in turn.
type bulkClient struct {
	client        *http.Client
	endpoints     []string
	index         string
	authorization string
	next          atomic.Uint64
}

// send writes the documents and returns one answer for each, or a *requestError for all of them.
func (b *bulkClient) send(ctx context.Context, documents []*document) ([]itemAnswer, error) {
	endpoint := b.endpoints[int(b.next.Add(1)-1)%len(b.endpoints)]
	request, err := http.NewRequestWithContext(
		ctx, http.MethodPost, endpoint+"/"+b.index+bulkPath, bytes.NewReader(bulkBody(documents)),
	)
	if err != nil {
		return nil, &requestError{err: err}
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	if b.authorization != "" {
		request.Header.Set("Authorization", b.authorization)
	}
	response, err := b.client.Do(request)
	if err != nil {
		return nil, &requestError{err: err}
	}
	defer func() { _ = response.Body.Close() }() // what was read decides
	body, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return nil, &requestError{err: fmt.Errorf("the answer of %s broke off: %w", endpoint, err)}
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, &requestError{
			status:     response.StatusCode,
			retryAfter: retryAfter(response.Header.Get("Retry-After"), time.Now()),
			err: fmt.Errorf("%s answered %s%s: %s", endpoint, response.Status,
				hint(response.StatusCode), shown(body)),
		}
	}
	answers, err := parseAnswers(body, len(documents))
	if err != nil {
		return nil, &requestError{err: fmt.Errorf("%s: %w", endpoint, err)}
	}
	return answers, nil
}

// bulkBody is the request: `create` never overwrites, and is the only action of a data stream.
func bulkBody(documents []*document) []byte {
	size := 0
	for _, doc := range documents {
		size += doc.size()
	}
	body := make([]byte, 0, size)
	for _, doc := range documents {
		body = append(body, `{"create":{"_id":"`...)
		body = append(body, doc.id...) // base64url, a dash and digits: nothing to escape
		body = append(body, "\"}}\n"...)
		body = append(body, doc.source...)
		body = append(body, '\n')
	}
	return body
}

func parseAnswers(body []byte, count int) ([]itemAnswer, error) {
	var answer struct {
		Errors *bool                   `json:"errors"`
		Items  []map[string]itemAnswer `json:"items"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("the answer is no bulk answer (is it Elasticsearch?): %s", shown(body))
	}
	if len(answer.Items) != count {
		return nil, fmt.Errorf("the answer speaks of %d documents, sent were %d: %s",
			len(answer.Items), count, shown(body))
	}
	answers := make([]itemAnswer, count)
	for i, item := range answer.Items {
		for _, each := range item {
			answers[i] = each
		}
		if answers[i].Status == 0 {
			return nil, errors.New("the answer has a document without a status")
		}
	}
	return answers, nil
}

// hint says which setting to look at.
func hint(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return " (correct `user` and `password`, `api_key` or `auth`)"
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusNotAcceptable:
		return " (is `endpoints` an Elasticsearch or OpenSearch, and is http or https right?)"
	default:
		return ""
	}
}

func shown(body []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "")), " ")
	if len(text) > errorBytesShown {
		return strings.ToValidUTF8(text[:errorBytesShown], "") + "..."
	}
	return text
}

// retryAfter reads both forms of the header (RFC 9110, section 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil && date.After(now) {
		return date.Sub(now)
	}
	return 0
}
