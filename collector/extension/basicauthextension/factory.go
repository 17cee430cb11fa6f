// Package basicauthextension lets in who knows a name and a password of an htpasswd file (RFC 7617).
//
// Its type name is that of the official extension and it takes the official keys of the server's
// side, so that one config runs on both.
package basicauthextension

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
)

const typeName = "basicauth"

// NewFactory makes the factory of the extension.
func NewFactory() extension.Factory {
	return extension.NewFactory(
		component.MustNewType(typeName),
		func() component.Config { return &Config{} },
		func(_ context.Context, set extension.Settings, config component.Config) (extension.Extension, error) {
			return newServer(config.(*Config), set.Logger), nil
		},
		component.StabilityLevelAlpha,
	)
}
