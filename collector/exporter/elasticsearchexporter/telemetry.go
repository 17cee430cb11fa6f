package elasticsearchexporter

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const scopeName = "kaizen-otel.invalid/exporter/elasticsearchexporter"

// telemetry counts documents by what became of them.
type telemetry struct {
	documents   metric.Int64Counter
	retries     metric.Int64Counter
	deadLetters metric.Int64Counter
	removals    metric.Int64Counter
	component   attribute.KeyValue
}

func newTelemetry(set component.TelemetrySettings, id string) (*telemetry, error) {
	meter := set.MeterProvider.Meter(scopeName)
	documents, err1 := meter.Int64Counter(
		"otelcol.kaizen.elasticsearch.documents",
		metric.WithDescription("Documents that the store has; outcome `duplicate`: had already"),
		metric.WithUnit("{document}"))
	retries, err2 := meter.Int64Counter(
		"otelcol.kaizen.elasticsearch.retries",
		metric.WithDescription("Documents that are sent again, once for each time"),
		metric.WithUnit("{document}"))
	deadLetters, err3 := meter.Int64Counter(
		"otelcol.kaizen.elasticsearch.dead_letters",
		metric.WithDescription("Documents that went to the dead-letter file"),
		metric.WithUnit("{document}"))
	removals, err4 := meter.Int64Counter(
		"otelcol.kaizen.elasticsearch.dead_letters.removed",
		metric.WithDescription("Dead letters that were lost with the oldest file"),
		metric.WithUnit("{document}"))
	return &telemetry{
		documents:   documents,
		retries:     retries,
		deadLetters: deadLetters,
		removals:    removals,
		component:   attribute.String("exporter", id),
	}, errors.Join(err1, err2, err3, err4)
}

func (t *telemetry) stored(ctx context.Context, stored, duplicates int) {
	t.documents.Add(ctx, int64(stored),
		metric.WithAttributes(t.component, attribute.String("outcome", "stored")))
	t.documents.Add(ctx, int64(duplicates),
		metric.WithAttributes(t.component, attribute.String("outcome", "duplicate")))
}

func (t *telemetry) retried(ctx context.Context, documents int) {
	t.retries.Add(ctx, int64(documents), metric.WithAttributes(t.component))
}

func (t *telemetry) buried(ctx context.Context, documents int) {
	t.deadLetters.Add(ctx, int64(documents), metric.WithAttributes(t.component))
}

func (t *telemetry) removed(documents int64) {
	t.removals.Add(context.Background(), documents, metric.WithAttributes(t.component))
}
