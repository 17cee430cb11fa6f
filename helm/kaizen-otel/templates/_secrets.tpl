{{/*
What a tier reads from Secrets: files below /etc/kaizen-otel and environment variables. Values of
Secrets never reach a template; only names do.
*/}}

{{/* A Secret's files: list "volume" "/mount/path" "secret" (dict "key" "file") */}}
{{- define "kaizen-otel.secretFile" -}}
{{- $items := list -}}
{{- range $key, $path := index . 3 -}}{{- $items = append $items (dict "key" $key "path" $path) -}}{{- end -}}
{{- toJson (dict "volume" (index . 0) "path" (index . 1) "secret" (index . 2) "items" $items) -}}
{{- end -}}

{{/* The Secret with the certificate of a tier's receivers. */}}
{{- define "kaizen-otel.serverSecretName" -}}
{{- if .root.Values.tls.certManager.enabled -}}
{{- printf "%s-tls" (include "kaizen-otel.tierName" .) -}}
{{- else -}}
{{- .root.Values.tls.serverSecret.name -}}
{{- end -}}
{{- end -}}

{{/* The keys of the certificate in that Secret, as JSON; cert-manager has its own. */}}
{{- define "kaizen-otel.serverSecretKeys" -}}
{{- if .Values.tls.certManager.enabled -}}
{{- toJson (dict "certificateKey" "tls.crt" "privateKeyKey" "tls.key" "caKey" "ca.crt") -}}
{{- else -}}
{{- toJson .Values.tls.serverSecret -}}
{{- end -}}
{{- end -}}

{{/* All files that a tier mounts from Secrets, as a JSON list. */}}
{{- define "kaizen-otel.secretFiles" -}}
{{- $v := .root.Values -}}
{{- $tier := .tier -}}
{{- $found := list -}}
{{- if $v.tls.enabled -}}
{{- $keys := include "kaizen-otel.serverSecretKeys" .root | fromJson -}}
{{- $files := dict $keys.certificateKey "server.crt" $keys.privateKeyKey "server.key" -}}
{{- $clients := $v.tls.clients -}}
{{- $authority := ternary $clients.auditCaSecret $clients.caSecret (eq $tier "audit") -}}
{{- if or (eq $tier "agent") (and $clients.required (not $authority.name)) -}}
{{- $_ := set $files $keys.caKey "ca.crt" -}}
{{- end -}}
{{- $found = append $found (list "tls" "/etc/kaizen-otel/tls" (include "kaizen-otel.serverSecretName" .) $files) -}}
{{- if and $clients.required $authority.name -}}
{{- $found = append $found (list "client-ca" "/etc/kaizen-otel/client-ca" $authority.name (dict $authority.key "ca.crt")) -}}
{{- end -}}
{{- if and $clients.required (eq $tier "agent") (not $v.tls.certManager.enabled) -}}
{{- $own := $v.agent.clientSecret -}}
{{- $found = append $found (list "client" "/etc/kaizen-otel/client" $own.name (dict $own.certificateKey "tls.crt" $own.privateKeyKey "tls.key")) -}}
{{- end -}}
{{- end -}}
{{- $credentials := get (dict "gateway" $v.auth.telemetrySecret "agent" $v.auth.agentSecret "audit" $v.auth.auditSecret) $tier -}}
{{- $isFile := or (eq $v.auth.type "bearer") (ternary (eq $v.auth.type "oidc") (eq $v.auth.type "basic") (eq $tier "agent")) -}}
{{- if $isFile -}}
{{- $found = append $found (list "credentials" "/etc/kaizen-otel/secrets" $credentials.name (dict $credentials.key "credentials")) -}}
{{- end -}}
{{- if and (eq $v.auth.type "oidc") $v.auth.oidc.caSecret.name -}}
{{- $found = append $found (list "oidc-ca" "/etc/kaizen-otel/oidc-ca" $v.auth.oidc.caSecret.name (dict $v.auth.oidc.caSecret.key "ca.crt")) -}}
{{- end -}}
{{- if eq $tier "gateway" -}}
{{- $destinations := omit $v.destinations "extra" -}}
{{- range $v.destinations.extra -}}{{- $_ := set $destinations (printf "extra-%s" .name) . -}}{{- end -}}
{{- range $name, $destination := $destinations -}}
{{- $folder := printf "/etc/kaizen-otel/destinations/%s" $name -}}
{{- with ($destination.tls).caSecret -}}{{- if .name -}}
{{- $found = append $found (list (printf "%s-ca" $name) (printf "%s-ca" $folder) .name (dict .key "ca.crt")) -}}
{{- end -}}{{- end -}}
{{- with ($destination.tls).clientSecret -}}{{- if .name -}}
{{- $found = append $found (list (printf "%s-client" $name) (printf "%s-client" $folder) .name (dict .certificateKey "tls.crt" .privateKeyKey "tls.key")) -}}
{{- end -}}{{- end -}}
{{- with $destination.bearerSecret -}}{{- if .name -}}
{{- $found = append $found (list (printf "%s-bearer" $name) (printf "%s-bearer" $folder) .name (dict .key "token")) -}}
{{- end -}}{{- end -}}
{{- with $destination.basicSecret -}}{{- if .name -}}
{{- $found = append $found (list (printf "%s-basic" $name) (printf "%s-basic" $folder) .name (dict .userKey "username" .passwordKey "password")) -}}
{{- end -}}{{- end -}}
{{- with $destination.apiKeySecret -}}{{- if .name -}}
{{- $found = append $found (list (printf "%s-api-key" $name) (printf "%s-api-key" $folder) .name (dict .key "api-key")) -}}
{{- end -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $files := list -}}
{{- range $found -}}{{- $files = append $files (include "kaizen-otel.secretFile" . | fromJson) -}}{{- end -}}
{{- toJson $files -}}
{{- end -}}

{{/* A variable from a Secret: list "NAME" "secret" "key" */}}
{{- define "kaizen-otel.secretVariable" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef: {name: {{ index . 1 | quote }}, key: {{ index . 2 | quote }}}
{{- end -}}

{{/* The variables that a tier takes from Secrets, as a JSON list of [NAME, secret, key]. */}}
{{- define "kaizen-otel.secretVariables" -}}
{{- $v := .root.Values -}}
{{- $found := list -}}
{{- if and (eq .tier "agent") (eq $v.auth.type "basic") -}}
{{- range list "KAIZEN_OTEL_GATEWAY_BASIC" "KAIZEN_OTEL_GATEWAY_AUDIT_BASIC" -}}
{{- $found = append $found (list . $v.auth.agentSecret.name $v.auth.agentSecret.key) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Where the overlays of TLS and authentication find their files: NAME -> value, as JSON. */}}
{{- define "kaizen-otel.securityVariables" -}}
{{- $v := .root.Values -}}
{{- $found := dict -}}
{{- if and $v.tls.enabled $v.tls.clients.required -}}
{{- $authority := ternary $v.tls.clients.auditCaSecret $v.tls.clients.caSecret (eq .tier "audit") -}}
{{- $path := ternary "/etc/kaizen-otel/client-ca/ca.crt" "/etc/kaizen-otel/tls/ca.crt" (not (empty $authority.name)) -}}
{{- $_ := set $found "KAIZEN_OTEL_TLS_CLIENT_CA_FILE" $path -}}
{{- $_ := set $found "KAIZEN_OTEL_TLS_AUDIT_CLIENT_CA_FILE" $path -}}
{{- end -}}
{{- $file := "/etc/kaizen-otel/secrets/credentials" -}}
{{- if eq $v.auth.type "oidc" -}}
{{- if ne .tier "audit" -}}{{- $_ := set $found "KAIZEN_OTEL_OIDC_AUDIENCE" $v.auth.oidc.telemetryAudience -}}{{- end -}}
{{- $_ := set $found "KAIZEN_OTEL_OIDC_AUDIT_AUDIENCE" $v.auth.oidc.auditAudience -}}
{{- $authority := ternary "/etc/kaizen-otel/oidc-ca/ca.crt" "" (not (empty $v.auth.oidc.caSecret.name)) -}}
{{- if eq .tier "agent" -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_TOKEN_URL" $v.auth.oidc.agentTokenUrl -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_CLIENT_ID" $v.auth.oidc.agentClientId -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_CLIENT_SECRET_FILE" $file -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_OIDC_CA_FILE" $authority -}}
{{- else -}}
{{- $_ := set $found "KAIZEN_OTEL_OIDC_ISSUER" $v.auth.oidc.issuer -}}
{{- $_ := set $found "KAIZEN_OTEL_OIDC_CA_FILE" $authority -}}
{{- end -}}
{{- else if and (eq .tier "agent") (eq $v.auth.type "bearer") -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_TOKEN_FILE" $file -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_AUDIT_TOKEN_FILE" $file -}}
{{- else if ne .tier "agent" -}}
{{- /* The gateway's audit receiver answers nobody, so it needs no credentials of its own. */ -}}
{{- $kind := get (dict "bearer" "TOKENS" "basic" "HTPASSWD" "none" "") $v.auth.type -}}
{{- if $kind -}}
{{- $_ := set $found (printf "KAIZEN_OTEL_AUDIT_%s_FILE" $kind) $file -}}
{{- if eq .tier "gateway" -}}{{- $_ := set $found (printf "KAIZEN_OTEL_%s_FILE" $kind) $file -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
