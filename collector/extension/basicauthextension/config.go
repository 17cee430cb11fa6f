package basicauthextension

import (
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
)

// Config is the server's part of the official extension's keys.
type Config struct {
	// Htpasswd is who may come in.
	Htpasswd *HtpasswdConfig `mapstructure:"htpasswd"`

	// ClientAuth belongs to the official extension only.
	ClientAuth map[string]any `mapstructure:"client_auth"`
}

// HtpasswdConfig says where the names and hashes are. With both, those of Inline win.
type HtpasswdConfig struct {
	// File is the path of an htpasswd file; a changed file is read again within a second.
	File string `mapstructure:"file"`

	// Inline is the content of one.
	Inline configopaque.String `mapstructure:"inline"`
}

var _ component.Config = (*Config)(nil)

// Validate refuses what would let nobody in, or is not done here.
func (c *Config) Validate() error {
	if c.ClientAuth != nil {
		return errors.New("key `client_auth` belongs to the official basicauth extension, the one of " +
			"kaizen-otel checks what comes in only: in the exporter set `headers` with " +
			"authorization from ${env:...}")
	}
	if c.Htpasswd == nil || (c.Htpasswd.File == "" && c.Htpasswd.Inline == "") {
		return errors.New("`htpasswd::file` or `htpasswd::inline` must be set: without it nobody could " +
			"come in")
	}
	_, err := parse("htpasswd::inline", string(c.Htpasswd.Inline))
	return err
}
