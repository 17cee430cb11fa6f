package elasticsearchexporter

import (
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
)

func nopSettings() exporter.Settings {
	return exportertest.NewNopSettings(component.MustNewType(typeName))
}

// load reads a config as the Collector does: over the defaults, then validated with all its parts.
func load(keys map[string]any) (*Config, error) {
	config := createDefaultConfig().(*Config)
	if err := confmap.NewFromStringMap(keys).Unmarshal(config); err != nil {
		return nil, err
	}
	return config, confmap.Validate(config)
}

func TestTheKeysOfTheShippedConfigAreTaken(t *testing.T) {
	config, err := load(map[string]any{
		"endpoints":  []any{"https://one:9200", "https://two:9200/"},
		"user":       "agent",
		"password":   "secret",
		"logs_index": "logs-kaizen.otel-prod",
		"timeout":    "10s",
		"tls":        map[string]any{"ca_file": "/etc/ca.pem"},
		"mapping":    map[string]any{"mode": "otel"},
		"retry": map[string]any{
			"enabled": true, "max_retries": 1000000, "initial_interval": "1s",
			"max_interval": "30s", "retry_on_status": []any{429, 502, 503, 504},
		},
		"sending_queue": map[string]any{
			"enabled": true, "storage": "file_storage/queue", "sizer": "items",
			"queue_size": 100000, "block_on_overflow": true,
			"batch": map[string]any{"flush_timeout": "1s", "min_size": 500, "max_size": 5000},
		},
	})
	must(t, err)
	if got := config.endpoints(); len(got) != 2 || got[1] != "https://two:9200" {
		t.Errorf("endpoints %v", got)
	}
	if config.Client.Timeout != 10*time.Second || config.Client.TLS.CAFile != "/etc/ca.pem" ||
		config.Queue.Get().QueueSize != 100000 || config.Retry.MaxInterval != 30*time.Second ||
		config.Queue.Get().Batch.Get().MaxSize != 5000 {
		t.Errorf("config %+v", config)
	}
}

func TestTheDefaultsNeedOnlyAnEndpoint(t *testing.T) {
	for _, keys := range []map[string]any{
		{"endpoints": []any{"http://localhost:9200"}},
		{"endpoint": "http://localhost:9200"},
		{"endpoint": "http://localhost:9200", "sending_queue": map[string]any{"enabled": false}},
	} {
		config, err := load(keys)
		must(t, err)
		if config.LogsIndex != defaultLogsIndex || !config.Retry.Enabled {
			t.Errorf("config %+v", config)
		}
	}
}

func TestWhatCannotBeKeptIsRefusedWithWhatToDo(t *testing.T) {
	endpoint := func(more map[string]any) map[string]any {
		more["endpoints"] = []any{"https://one:9200"}
		return more
	}
	for want, keys := range map[string]map[string]any{
		"exactly one of `endpoints` and `endpoint`": {},
		"is no URL": {"endpoints": []any{"one:9200"}},
		"neither a query nor credentials": {
			"endpoints": []any{"https://me:secret@one:9200"},
		},
		"set together":                   endpoint(map[string]any{"user": "me"}),
		"only one of":                    endpoint(map[string]any{"user": "me", "password": "p", "api_key": "k"}),
		"`logs_index` is empty":          endpoint(map[string]any{"logs_index": ""}),
		"is no name of a data stream":    endpoint(map[string]any{"logs_index": "Logs"}),
		"shape `otel` only":              endpoint(map[string]any{"mapping": map[string]any{"mode": "ecs"}}),
		"must hold otel":                 endpoint(map[string]any{"mapping": map[string]any{"allowed_modes": []any{"ecs"}}}),
		"cannot drop what fails":         endpoint(map[string]any{"retry": map[string]any{"enabled": false}}),
		"retries without end":            endpoint(map[string]any{"retry": map[string]any{"max_retries": 5}}),
		"initial_interval":               endpoint(map[string]any{"retry": map[string]any{"max_interval": "1ms"}}),
		"which is no error of HTTP":      endpoint(map[string]any{"retry": map[string]any{"retry_on_status": []any{200}}}),
		"gzip or none":                   endpoint(map[string]any{"compression": "zstd"}),
		"use `sending_queue::batch`":     endpoint(map[string]any{"flush": map[string]any{"bytes": 1}}),
		"list the nodes in `endpoints`":  endpoint(map[string]any{"discover": map[string]any{"on_start": true}}),
		"index.default_pipeline":         endpoint(map[string]any{"pipeline": "x"}),
		"set KAIZEN_OTEL_COLLECTOR":      endpoint(map[string]any{"traces_index": "x"}),
		"unknown key `retry_on_failure`": endpoint(map[string]any{"retry_on_failure": map[string]any{}}),
		"invalid keys: max_retry":        endpoint(map[string]any{"retry": map[string]any{"max_retry": 1}}),
		"invalid keys: ca_fil":           endpoint(map[string]any{"tls": map[string]any{"ca_fil": "x"}}),
		"invalid keys: queue_siz":        endpoint(map[string]any{"sending_queue": map[string]any{"queue_siz": 1}}),
		"`queue_size` must be positive":  endpoint(map[string]any{"sending_queue": map[string]any{"queue_size": 0}}),
	} {
		_, err := load(keys)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\n got: %v\nwant: ...%s...", keys, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func TestCompressionCanBeSwitchedOff(t *testing.T) {
	config, err := load(map[string]any{"endpoint": "http://localhost:9200", "compression": "none"})
	must(t, err)
	started(t, config)
}
