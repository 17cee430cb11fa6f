package elasticsearchexporter

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"
)

const (
	// requestBytesMax bounds one bulk request, unless one document is larger.
	requestBytesMax = 5 << 20

	// failingAloneMax is how long one document may fail while the server takes others.
	failingAloneMax = 24 * time.Hour

	// retryAfterMax bounds how long the server can ask us to wait.
	retryAfterMax = 5 * time.Minute

	// stopGrace is how long a request under way may take once the exporter is shutting down.
	stopGrace = 5 * time.Second

	warnEvery = time.Minute
)

var errStopping = errors.New("the exporter is shutting down; the records stay in the queue")

// logsExporter sends records until the server has them or a dead-letter file has them.
type logsExporter struct {
	config      *Config
	set         component.TelemetrySettings
	bulk        *bulkClient
	deadLetters *deadLetterFile
	telemetry   *telemetry
	now         func() time.Time
	after       func(time.Duration) <-chan time.Time

	stopOnce sync.Once
	stopping chan struct{}
	requests context.Context // done some time after the stop
	cancel   context.CancelFunc

	// lastStored is when the server last took a document (Unix nanoseconds, 0: never).
	lastStored atomic.Int64
	lastWarned atomic.Int64
}

func newLogsExporter(config *Config, set exporter.Settings) (*logsExporter, error) {
	counters, err := newTelemetry(set.TelemetrySettings, set.ID.String())
	if err != nil {
		return nil, err
	}
	requests, cancel := context.WithCancel(context.Background())
	return &logsExporter{
		config: config,
		set:    set.TelemetrySettings,
		deadLetters: newDeadLetterFile(set.ID.String(), func(documents int64) {
			counters.removed(documents)
			set.Logger.Error("The oldest dead-letter file was removed to keep their number: its "+
				"documents are lost. Read and remove dead letters in time.",
				zap.Int64("documents", documents))
		}),
		telemetry: counters,
		now:       time.Now,
		after:     time.After,
		stopping:  make(chan struct{}),
		requests:  requests,
		cancel:    cancel,
	}, nil
}

func (e *logsExporter) start(ctx context.Context, host component.Host) error {
	client, err := e.config.Client.ToClient(ctx, host.GetExtensions(), e.set)
	if err != nil {
		return err
	}
	e.bulk = &bulkClient{
		client:        client,
		endpoints:     e.config.endpoints(),
		index:         e.config.LogsIndex,
		authorization: authorization(e.config),
	}
	if queue := e.config.Queue.Get(); queue == nil || queue.StorageID == nil {
		e.set.Logger.Warn("sending_queue::storage is not set: records that wait for the server are " +
			"lost when this process ends")
	}
	if e.bulk.authorization != "" {
		for _, endpoint := range e.bulk.endpoints {
			if sendsOpenly(endpoint) {
				e.set.Logger.Warn("credentials go over a connection without TLS: use https in "+
					"`endpoints`", zap.String("endpoint", endpoint))
			}
		}
	}
	return e.deadLetters.prepare()
}

// stop lets every push end after the request that it has under way.
func (e *logsExporter) stop() {
	e.stopOnce.Do(func() {
		close(e.stopping)
		time.AfterFunc(stopGrace, e.cancel)
	})
}

// close frees what start took; no push is running any more.
func (e *logsExporter) close() {
	e.cancel()
	if e.bulk != nil {
		e.bulk.client.CloseIdleConnections()
	}
	if err := e.deadLetters.close(); err != nil {
		e.set.Logger.Error("the dead-letter file was not closed", zap.Error(err))
	}
}

func (e *logsExporter) isStopping() bool {
	select {
	case <-e.stopping:
		return true
	default:
		return false
	}
}

// push returns nil when every record is in the store or in the dead-letter file. It returns an
// error only when it may not go on: the exporter is shutting down, or (without a queue) the
// client has gone; in both cases somebody else still has the records.
func (e *logsExporter) push(ctx context.Context, logs plog.Logs) error {
	pending, err := encode(logs, e.now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.requests, cancel)()
	delay := e.config.Retry.InitialInterval
	for {
		before := len(pending)
		var failure error
		pending, failure = e.attempt(ctx, pending)
		if len(pending) == 0 {
			return nil
		}
		if e.isStopping() {
			return errors.Join(errStopping, failure)
		}
		if len(pending) < before { // the server takes some: try the rest soon
			delay = e.config.Retry.InitialInterval
		}
		wait := jittered(delay)
		var request *requestError
		if errors.As(failure, &request) {
			wait = max(wait, min(request.retryAfter, retryAfterMax))
		}
		e.telemetry.retried(ctx, len(pending))
		e.warn(failure, len(pending))
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), failure)
		case <-e.stopping:
			return errors.Join(errStopping, failure)
		case <-e.after(wait):
		}
		delay = min(2*delay, e.config.Retry.MaxInterval)
	}
}

// attempt sends every document once, in requests of a bounded size, and returns those that must be
// sent again. A request that fails as a whole ends the attempt: the next would fail as well.
func (e *logsExporter) attempt(
	ctx context.Context, documents []*document,
) (pending []*document, failure error) {
	requests := split(documents)
	for len(requests) > 0 {
		current := requests[0]
		requests = requests[1:]
		answers, err := e.bulk.send(ctx, current)
		var request *requestError
		switch {
		case err == nil:
			again, itemFailure := e.settle(ctx, current, answers)
			pending = append(pending, again...)
			failure = errors.Join(failure, itemFailure)
		case errors.As(err, &request) && request.status == http.StatusRequestEntityTooLarge:
			if len(current) > 1 {
				half := len(current) / 2
				requests = append([][]*document{current[:half], current[half:]}, requests...)
				continue
			}
			answer := itemAnswer{Status: request.status}
			again, itemFailure := e.bury(ctx, []buried{{current[0], answer, "too large"}})
			pending = append(pending, again...)
			failure = errors.Join(failure, itemFailure)
		default:
			pending = append(pending, current...)
			for _, rest := range requests {
				pending = append(pending, rest...)
			}
			for _, doc := range pending {
				doc.failingSince = time.Time{} // it does not fail alone
			}
			return pending, errors.Join(failure, err)
		}
	}
	return pending, failure
}

type buried struct {
	document *document
	answer   itemAnswer
	reason   string
}

// settle sorts the documents of an answered request by what the server said of each.
func (e *logsExporter) settle(
	ctx context.Context, documents []*document, answers []itemAnswer,
) (pending []*document, failure error) {
	stored, duplicates := 0, 0
	var rejected []buried
	for i, answer := range answers {
		doc := documents[i]
		switch e.classify(answer) {
		case isStored:
			stored++
		case isDuplicate:
			duplicates++
		case isRejected:
			rejected = append(rejected, buried{doc, answer, "rejected"})
		case isRetryable:
			if e.failsAlone(doc, answer) {
				rejected = append(rejected, buried{doc, answer, "failed alone for 24 h"})
				continue
			}
			pending = append(pending, doc)
			failure = fmt.Errorf("the server does not take a document now: %d %s",
				answer.Status, answer.errorType())
		}
	}
	if stored+duplicates > 0 {
		e.lastStored.Store(e.now().UnixNano())
		e.telemetry.stored(ctx, stored, duplicates)
	}
	again, buryFailure := e.bury(ctx, rejected)
	return append(pending, again...), errors.Join(failure, buryFailure)
}

type verdict int

const (
	isStored verdict = iota
	isDuplicate
	isRejected
	isRetryable
)

func (e *logsExporter) classify(answer itemAnswer) verdict {
	status := answer.Status
	switch {
	case status >= 200 && status <= 299:
		return isStored
	case status == http.StatusConflict:
		return isDuplicate // `create` of an id that is there: an earlier try arrived
	case status == http.StatusTooManyRequests || status >= 500:
		return isRetryable
	case status == http.StatusUnauthorized, status == http.StatusForbidden,
		status == http.StatusNotFound, status == http.StatusRequestTimeout:
		return isRetryable // says something about the index or our rights, not about the document
	case slices.Contains(e.config.Retry.RetryOnStatus, status):
		return isRetryable
	default:
		return isRejected
	}
}

// failsAlone tells whether a document has failed for so long, while the server answered all the
// time and took others, that the document must be the reason. Overload (429) never is.
func (e *logsExporter) failsAlone(doc *document, answer itemAnswer) bool {
	now := e.now()
	if answer.Status == http.StatusTooManyRequests || doc.failingSince.IsZero() {
		doc.failingSince = now
		return false
	}
	return now.Sub(doc.failingSince) >= failingAloneMax &&
		e.lastStored.Load() > doc.failingSince.UnixNano()
}

// bury writes documents to the dead-letter file and returns them again if that did not work.
func (e *logsExporter) bury(ctx context.Context, dead []buried) ([]*document, error) {
	if len(dead) == 0 {
		return nil, nil
	}
	letters := make([]deadLetter, len(dead))
	for i, each := range dead {
		letters[i] = deadLetter{
			Time:     e.now().UTC(),
			Reason:   each.reason,
			Status:   each.answer.Status,
			Error:    each.answer.Error,
			Index:    e.config.LogsIndex,
			ID:       each.document.id,
			Document: each.document.source,
		}
	}
	if err := e.deadLetters.write(letters); err != nil {
		again := make([]*document, len(dead))
		for i, each := range dead {
			again[i] = each.document
		}
		return again, err
	}
	e.telemetry.buried(ctx, len(dead))
	e.set.Logger.Error("The server will not take documents; they are in the dead-letter file with "+
		"the reason", zap.Int("documents", len(dead)), zap.String("file", e.deadLetters.path()),
		zap.Int("status", dead[0].answer.Status), zap.String("error", dead[0].answer.errorType()),
		zap.String("reason", dead[0].reason))
	return nil, nil
}

// warn tells of a failure, at most once a minute.
func (e *logsExporter) warn(failure error, count int) {
	now := e.now().UnixNano()
	last := e.lastWarned.Load()
	if now-last < int64(warnEvery) || !e.lastWarned.CompareAndSwap(last, now) {
		return
	}
	e.set.Logger.Warn("Documents are not in the store yet and are tried again, without end",
		zap.Int("documents", count), zap.Error(failure))
}

// split cuts documents into requests of at most requestBytesMax.
func split(documents []*document) [][]*document {
	var requests [][]*document
	start, size := 0, 0
	for i, doc := range documents {
		if i > start && size+doc.size() > requestBytesMax {
			requests = append(requests, documents[start:i])
			start, size = i, 0
		}
		size += doc.size()
	}
	if start < len(documents) {
		requests = append(requests, documents[start:])
	}
	return requests
}

// jittered is between half of the delay and all of it, so that consumers do not come back at once.
func jittered(delay time.Duration) time.Duration {
	half := delay / 2
	return half + rand.N(half+1)
}

func authorization(config *Config) string {
	switch {
	case config.User != "":
		pair := config.User + ":" + string(config.Password)
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	case config.APIKey != "":
		return "ApiKey " + string(config.APIKey)
	default:
		return ""
	}
}

func sendsOpenly(endpoint string) bool {
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Scheme == "https" {
		return false
	}
	host := parsed.Hostname()
	return host != "localhost" && host != "127.0.0.1" && host != "::1"
}
