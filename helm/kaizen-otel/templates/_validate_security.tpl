{{/* TLS, authentication, and configuration by hand: what does not go together. */}}
{{- define "kaizen-otel.validateSecurity" -}}
{{- include "kaizen-otel.validateTls" . -}}
{{- include "kaizen-otel.validateAuth" . -}}
{{- end -}}

{{- define "kaizen-otel.validateTls" -}}
{{- $v := .Values -}}
{{- $manager := $v.tls.certManager -}}
{{- if not $v.tls.enabled -}}
{{- range list (list "tls.certManager.enabled" $manager.enabled) (list "tls.clients.required" $v.tls.clients.required) (list "tls.serverSecret.name" $v.tls.serverSecret.name) -}}
{{- if last . -}}
{{- fail (printf "%s is set but tls.enabled is false. Please set tls.enabled to true." (first .)) -}}
{{- end -}}
{{- end -}}
{{- else if $manager.enabled -}}
{{- if $v.tls.serverSecret.name -}}
{{- fail "tls.serverSecret and tls.certManager.enabled both bring a certificate. Please set tls.serverSecret.name to \"\", or tls.certManager.enabled to false." -}}
{{- end -}}
{{- if not $manager.issuer.name -}}
{{- fail "tls.certManager.issuer.name is empty. Please set it to the name of an Issuer or ClusterIssuer." -}}
{{- end -}}
{{- if not (.Capabilities.APIVersions.Has "cert-manager.io/v1") -}}
{{- fail "tls.certManager.enabled needs cert-manager, and this cluster has no cert-manager.io/v1. Please install it (or give --api-versions cert-manager.io/v1 to helm template), or set tls.certManager.enabled to false and tls.serverSecret.name." -}}
{{- end -}}
{{- else if not $v.tls.serverSecret.name -}}
{{- fail "tls.enabled is true without a certificate. Please set tls.serverSecret.name to an existing Secret, or tls.certManager.enabled to true." -}}
{{- end -}}
{{- if and $v.tls.clients.required (not $manager.enabled) -}}
{{- if and $v.agent.enabled (not $v.agent.clientSecret.name) -}}
{{- fail "tls.clients.required asks the agent tier for a certificate. Please set agent.clientSecret.name to an existing Secret." -}}
{{- end -}}
{{- if and (include "kaizen-otel.toolsSend" .) (not $v.tools.clientSecret.name) -}}
{{- fail "tls.clients.required asks the pods of test and audit.verification for a certificate. Please set tools.clientSecret.name to an existing Secret." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not empty where pods of our tools send to the receivers. */}}
{{- define "kaizen-otel.toolsSend" -}}
{{- if or .Values.test.enabled (and .Values.audit.verification.enabled .Values.audit.verification.emit) -}}true{{- end -}}
{{- end -}}

{{- define "kaizen-otel.validateAuth" -}}
{{- $v := .Values -}}
{{- if ne $v.auth.type "none" -}}
{{- if not $v.tls.enabled -}}
{{- fail (printf "auth.type is %s, and its credentials would travel unencrypted. Please set tls.enabled to true." $v.auth.type) -}}
{{- end -}}
{{- $needed := dict -}}
{{- if ne $v.auth.type "oidc" -}}
{{- $_ := set $needed "auth.telemetrySecret.name" $v.auth.telemetrySecret.name -}}
{{- if $v.audit.enabled -}}{{- $_ := set $needed "auth.auditSecret.name" $v.auth.auditSecret.name -}}{{- end -}}
{{- else -}}
{{- $_ := set $needed "auth.oidc.issuer" $v.auth.oidc.issuer -}}
{{- if $v.agent.enabled -}}
{{- $_ := set $needed "auth.oidc.agentTokenUrl" $v.auth.oidc.agentTokenUrl -}}
{{- $_ := set $needed "auth.oidc.agentClientId" $v.auth.oidc.agentClientId -}}
{{- end -}}
{{- end -}}
{{- if $v.agent.enabled -}}{{- $_ := set $needed "auth.agentSecret.name" $v.auth.agentSecret.name -}}{{- end -}}
{{- if include "kaizen-otel.toolsSend" . -}}{{- $_ := set $needed "tools.environmentSecret" $v.tools.environmentSecret -}}{{- end -}}
{{- range $path, $value := $needed -}}
{{- if not $value -}}
{{- fail (printf "auth.type is %s and %s is empty. Please set %s." $v.auth.type $path $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A secret in a tier's config would stand in a ConfigMap, readable to many. */}}
{{- define "kaizen-otel.validateConfigs" -}}
{{- $v := .Values -}}
{{- range $tier := list "gateway" "agent" "audit" -}}
{{- range splitList "\n" (toYaml (index $v $tier).config) -}}
{{- if regexMatch "(?i)^[\\s-]*[\"']?[-a-z_]*(password|passwd|token|secret|api_?key|authorization|credentials?|_pem)[\"']?: *[\"']?[^\\s\"'$]|://[^/:@\\s]+:[^/@\\s$]+@" . -}}
{{- if not (regexMatch "\\$\\{(env|file):" .) -}}
{{- fail (printf "%s.config holds a secret in clear (%s). Please set the value to ${env:NAME}, bring NAME by a Secret, and name that in %s.environmentSecrets." $tier (regexFind "[A-Za-z_][-A-Za-z0-9_]*" .) $tier) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
