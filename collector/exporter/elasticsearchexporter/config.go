package elasticsearchexporter

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
)

// fewestRetries is what `retry::max_retries` must at least be: the official exporter drops records
// when they are used up, this one never does, and a config must not promise less than it gets.
const fewestRetries = 1000

// Config is the subset of the official exporter's keys that this one honours.
type Config struct {
	// Client holds endpoint, tls, timeout, headers, auth, compression and the other HTTP keys.
	Client confighttp.ClientConfig `mapstructure:",squash"`

	// Endpoints are base URLs of nodes of one cluster, used in turn.
	Endpoints []string `mapstructure:"endpoints"`

	// User and Password are for HTTP basic authentication.
	User     string              `mapstructure:"user"`
	Password configopaque.String `mapstructure:"password"`

	// APIKey is an Elasticsearch API key in its encoded form.
	APIKey configopaque.String `mapstructure:"api_key"`

	// LogsIndex is the data stream (or index) that takes the documents.
	LogsIndex string `mapstructure:"logs_index"`

	// Mapping may say `otel`, the only shape of documents that is written here.
	Mapping MappingConfig `mapstructure:"mapping"`

	// Queue is the helper's queue; `storage` makes it survive the process.
	Queue configoptional.Optional[exporterhelper.QueueBatchConfig] `mapstructure:"sending_queue"`

	// Retry sets the pace of retries, not their number.
	Retry RetryConfig `mapstructure:"retry"`
}

// MappingConfig is the shape of documents.
type MappingConfig struct {
	Mode         string   `mapstructure:"mode"`
	AllowedModes []string `mapstructure:"allowed_modes"`
}

// RetryConfig is the pace of retries.
type RetryConfig struct {
	Enabled bool `mapstructure:"enabled"`

	// MaxRetries is accepted so that the same file makes the official exporter patient.
	MaxRetries int `mapstructure:"max_retries"`

	InitialInterval time.Duration `mapstructure:"initial_interval"`
	MaxInterval     time.Duration `mapstructure:"max_interval"`

	// RetryOnStatus adds to what is always retried: 429 and 5xx.
	RetryOnStatus []int `mapstructure:"retry_on_status"`
}

// officialOnly are keys of the official exporter that change what happens to data; each with what
// to do here instead.
var officialOnly = map[string]string{
	"cloudid":                 "write the cluster's address to `endpoints`",
	"discover":                "list the nodes in `endpoints`",
	"flush":                   "use `sending_queue::batch`",
	"batcher":                 "use `sending_queue::batch`",
	"num_workers":             "use `sending_queue::num_consumers`",
	"index":                   "use `logs_index`",
	"logs_dynamic_index":      "use one `logs_index`",
	"logs_dynamic_id":         "remove it: document ids are a hash of the record here",
	"logs_dynamic_pipeline":   "set `index.default_pipeline` in the index template",
	"pipeline":                "set `index.default_pipeline` in the index template",
	"logstash_format":         "use a data stream in `logs_index`",
	"include_source_on_error": "remove it: the dead-letter file holds document and reason",
	"telemetry":               "remove it: request bodies are never logged here",
	"metrics_index":           "remove it: metrics go to Prometheus",
	"metrics_dynamic_index":   "remove it: metrics go to Prometheus",
	"traces_index":            "remove it: traces go to Jaeger",
	"traces_dynamic_index":    "remove it: traces go to Jaeger",
}

var _ confmap.Unmarshaler = (*Config)(nil)

// Unmarshal refuses every key that this exporter does not have. The generic decoder does not:
// it forgets to look for unknown keys beside and below a squashed confighttp.ClientConfig.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := refuseUnknown(conf); err != nil {
		return err
	}
	if err := conf.Unmarshal(c); err != nil {
		return err
	}
	for key, target := range map[string]any{
		"retry": &c.Retry, "mapping": &c.Mapping, "tls": &c.Client.TLS,
	} {
		part, err := conf.Sub(key)
		if err != nil {
			return err
		}
		if err := part.Unmarshal(target); err != nil {
			return fmt.Errorf("`%s`: %w", key, err)
		}
	}
	return nil
}

func refuseUnknown(conf *confmap.Conf) error {
	known := append(keysOf(reflect.TypeFor[Config]()), keysOf(reflect.TypeFor[confighttp.ClientConfig]())...)
	var refusals []error
	for _, key := range slices.Sorted(maps.Keys(conf.ToStringMap())) {
		if slices.Contains(known, key) {
			continue
		}
		if advice, ok := officialOnly[key]; ok {
			refusals = append(refusals, fmt.Errorf("key `%s` belongs to the official elasticsearch "+
				"exporter, the one of kaizen-otel does not have it: %s, or set "+
				"KAIZEN_OTEL_COLLECTOR to an otelcol-contrib", key, advice))
			continue
		}
		refusals = append(refusals, fmt.Errorf("unknown key `%s`: remove it; the keys are listed in "+
			"the README of the exporter", key))
	}
	return errors.Join(refusals...)
}

// keysOf are the keys by which a config's fields are set.
func keysOf(config reflect.Type) []string {
	var keys []string
	for field := range config.Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		if key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// Validate refuses values that cannot work or would promise less than this exporter keeps.
func (c *Config) Validate() error {
	return errors.Join(
		c.validateEndpoints(),
		c.validateAuthentication(),
		c.validateIndex(),
		c.validateMapping(),
		c.validateRetry(),
		c.validateCompression(),
	)
}

var _ component.Config = (*Config)(nil)

// endpoints are the base URLs without a slash at the end.
func (c *Config) endpoints() []string {
	given := c.Endpoints
	if c.Client.Endpoint != "" {
		given = []string{c.Client.Endpoint}
	}
	urls := make([]string, len(given))
	for i, each := range given {
		urls[i] = strings.TrimRight(each, "/")
	}
	return urls
}

func (c *Config) validateEndpoints() error {
	if (c.Client.Endpoint == "") == (len(c.Endpoints) == 0) {
		return errors.New("exactly one of `endpoints` and `endpoint` must be set, to URLs such as " +
			"https://elasticsearch:9200 (ELASTICSEARCH_ENDPOINT in the shipped config)")
	}
	for _, each := range c.endpoints() {
		parsed, err := url.Parse(each)
		if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
			return fmt.Errorf("endpoint %q is no URL with http:// or https:// and a host "+
				"(ELASTICSEARCH_ENDPOINT in the shipped config)", each)
		}
		if parsed.RawQuery != "" || parsed.User != nil {
			return fmt.Errorf("endpoint of host %q must hold neither a query nor credentials: "+
				"use `user` and `password`, or `api_key`", parsed.Host)
		}
	}
	return nil
}

func (c *Config) validateAuthentication() error {
	ways := 0
	for _, used := range []bool{c.User != "", c.APIKey != "", c.Client.Auth.HasValue()} {
		if used {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("only one of `user`, `api_key` and `auth` may be set")
	}
	if (c.User == "") != (c.Password == "") {
		return errors.New("`user` and `password` must be set together")
	}
	return nil
}

// validateIndex keeps to the names that both servers take (lower case, no wildcard or separator).
func (c *Config) validateIndex() error {
	if c.LogsIndex == "" {
		return fmt.Errorf("`logs_index` is empty: set a data stream such as %s", defaultLogsIndex)
	}
	if c.LogsIndex != strings.ToLower(c.LogsIndex) ||
		strings.ContainsAny(c.LogsIndex, "\\/*?\"<>| ,#:") ||
		strings.ContainsAny(c.LogsIndex[:1], "-_+.") {
		return fmt.Errorf("`logs_index` %q is no name of a data stream: use lower case, without "+
			`any of \/*?"<>|,#: and space, not starting with - _ + or .`, c.LogsIndex)
	}
	return nil
}

func (c *Config) validateMapping() error {
	mode := strings.ToLower(c.Mapping.Mode)
	if mode != "" && mode != "otel" {
		return fmt.Errorf("`mapping::mode` %q: the elasticsearch exporter of kaizen-otel writes "+
			"documents of the shape `otel` only: remove the key, or set KAIZEN_OTEL_COLLECTOR to an "+
			"otelcol-contrib", c.Mapping.Mode)
	}
	if len(c.Mapping.AllowedModes) > 0 && !slices.Contains(c.Mapping.AllowedModes, "otel") {
		return errors.New("`mapping::allowed_modes` must hold otel, the only shape written here")
	}
	return nil
}

func (c *Config) validateRetry() error {
	if !c.Retry.Enabled {
		return errors.New("`retry::enabled` is false: this exporter cannot drop what fails; " +
			"remove the key")
	}
	if c.Retry.MaxRetries != 0 && c.Retry.MaxRetries < fewestRetries {
		return fmt.Errorf("`retry::max_retries` is %d: this exporter retries without end; remove "+
			"the key or set at least %d, which makes the official exporter patient too",
			c.Retry.MaxRetries, fewestRetries)
	}
	if c.Retry.InitialInterval <= 0 || c.Retry.MaxInterval < c.Retry.InitialInterval {
		return errors.New("`retry::initial_interval` must be above 0 and at most " +
			"`retry::max_interval`")
	}
	for _, status := range c.Retry.RetryOnStatus {
		if status < 400 || status > 599 {
			return fmt.Errorf("`retry::retry_on_status` holds %d, which is no error of HTTP", status)
		}
	}
	return nil
}

func (c *Config) validateCompression() error {
	switch c.Client.Compression {
	case "", "none", configcompression.TypeGzip:
		return nil
	default:
		return fmt.Errorf("`compression` %q: both servers take gzip or none", c.Client.Compression)
	}
}
