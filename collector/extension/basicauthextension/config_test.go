package basicauthextension

import (
	"strings"
	"testing"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/extension/extensiontest"
)

const hash = "$2y$05$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234"

func configured(content map[string]any) error {
	config := NewFactory().CreateDefaultConfig().(*Config)
	if err := confmap.NewFromStringMap(content).Unmarshal(config); err != nil {
		return err
	}
	return config.Validate()
}

func inline(text string) map[string]any {
	return map[string]any{"htpasswd": map[string]any{"inline": text}}
}

func TestTheOfficialKeysAreTaken(t *testing.T) {
	for name, content := range map[string]map[string]any{
		"file":   {"htpasswd": map[string]any{"file": "/somewhere"}},
		"inline": inline("agent:" + hash),
		"both":   {"htpasswd": map[string]any{"file": "/somewhere", "inline": "agent:" + hash}},
	} {
		if err := configured(content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatCannotWorkIsRefusedWithWhatToDo(t *testing.T) {
	for name, one := range map[string]struct {
		content map[string]any
		text    string
	}{
		"nothing":     {map[string]any{}, "must be set"},
		"empty":       {map[string]any{"htpasswd": map[string]any{}}, "must be set"},
		"client":      {map[string]any{"client_auth": map[string]any{"username": "x"}}, "headers"},
		"unknown key": {map[string]any{"htpassword": "x"}, "htpassword"},
		"clear":       {inline("# names\nagent:secret"), "line 2 holds no bcrypt hash"},
		"MD5":         {inline("agent:$apr1$secret$secret"), "only bcrypt"},
		"SHA-1":       {inline("agent:{SHA}secret"), "only bcrypt"},
		"cut":         {inline("agent:" + hash[:40]), "only bcrypt"},
		"no colon":    {inline("secret"), "name:hash"},
		"no name":     {inline(":" + hash), "name:hash"},
		"too dear":    {inline("agent:" + strings.Replace(hash, "$05$", "$31$", 1)), "at most 14"},
	} {
		err := configured(one.content)
		if err == nil || !strings.Contains(err.Error(), one.text) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
}

func TestTheFactoryMakesTheTypeOfTheOfficialExtension(t *testing.T) {
	factory := NewFactory()
	if factory.Type().String() != "basicauth" {
		t.Error(factory.Type())
	}
	if err := componenttest.CheckConfigStruct(factory.CreateDefaultConfig()); err != nil {
		t.Error(err)
	}
	config := &Config{Htpasswd: &HtpasswdConfig{Inline: "agent:" + hash}}
	set := extensiontest.NewNopSettings(factory.Type())
	made, err := factory.Create(t.Context(), set, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Start(t.Context(), componenttest.NewNopHost()); err != nil {
		t.Error(err)
	}
	if err := made.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
