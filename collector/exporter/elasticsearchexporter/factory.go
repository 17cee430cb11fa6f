// Package elasticsearchexporter writes log records to Elasticsearch or OpenSearch and loses none:
// what the server cannot take now is retried without end, what it will never take goes to a
// dead-letter file with its reason.
//
// Its type name is that of the official exporter, and it takes a subset of the official keys, so
// that one config runs on both.
package elasticsearchexporter

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
)

const (
	typeName         = "elasticsearch"
	defaultLogsIndex = "logs-kaizen.otel-default"
)

// NewFactory makes the factory of the exporter; it serves logs only.
func NewFactory() exporter.Factory {
	return exporter.NewFactory(
		component.MustNewType(typeName),
		createDefaultConfig,
		exporter.WithLogs(createLogs, component.StabilityLevelAlpha),
	)
}

func createDefaultConfig() component.Config {
	client := confighttp.NewDefaultClientConfig()
	client.Timeout = 90 * time.Second
	client.Compression = configcompression.TypeGzip
	client.CompressionParams.Level = 1
	queue := exporterhelper.NewDefaultQueueConfig()
	queue.BlockOnOverflow = true
	return &Config{
		Client:    client,
		LogsIndex: defaultLogsIndex,
		Queue:     configoptional.Some(queue),
		Retry: RetryConfig{
			Enabled:         true,
			InitialInterval: 100 * time.Millisecond,
			MaxInterval:     time.Minute,
		},
	}
}

func createLogs(
	ctx context.Context, set exporter.Settings, config component.Config,
) (exporter.Logs, error) {
	logs, err := newLogsExporter(config.(*Config), set)
	if err != nil {
		return nil, err
	}
	// The helper's own retry is only there because it alone can tell the persistent queue "we are
	// shutting down, keep the item": push never returns a failure before that.
	retry := configretry.NewDefaultBackOffConfig()
	retry.MaxElapsedTime = 0
	inner, err := exporterhelper.NewLogs(
		ctx, set, config, logs.push,
		exporterhelper.WithStart(logs.start),
		exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{Timeout: 0}),
		exporterhelper.WithRetry(retry),
		exporterhelper.WithQueue(logs.config.Queue),
	)
	if err != nil {
		return nil, err
	}
	return &stoppable{Logs: inner, logs: logs}, nil
}

// stoppable tells the exporter of a shutdown before the helper waits for its consumers.
type stoppable struct {
	exporter.Logs
	logs *logsExporter
}

func (s *stoppable) Shutdown(ctx context.Context) error {
	s.logs.stop()
	err := s.Logs.Shutdown(ctx)
	s.logs.close()
	return err
}
