{{/* Rules of the NetworkPolicies. */}}

{{/* What may reach a tier: dict "root" $ "tier" "audit" "from" (peers) "ports" (list of names) */}}
{{- define "kaizen-otel.ingress" -}}
{{- $root := .root -}}
{{- with .from }}
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    {{- range $.ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- include "kaizen-otel.ownIngress" . }}
{{- with $root.Values.networkPolicy.metricsFrom }}
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - {protocol: TCP, port: metrics}
{{- end }}
{{- end -}}

{{/* What pods of this release may reach in a tier: dict "root" $ "components" (list) "ports" (list of names) */}}
{{- define "kaizen-otel.ownIngress" -}}
{{- $root := .root -}}
{{- with .components }}
- from:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: {{ include "kaizen-otel.name" $root | quote }}
          app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
        matchExpressions:
          - {key: app.kubernetes.io/component, operator: In, values: {{ toJson . }}}
  ports:
    {{- range $.ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "kaizen-otel.dnsEgress" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
  {{- with .Values.networkPolicy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* To a tier of this release: list $ "gateway" (list 4317) */}}
{{- define "kaizen-otel.tierEgress" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "kaizen-otel.selectorLabels" (dict "root" (index . 0) "tier" (index . 1)) | nindent 10 }}
  ports:
    {{- range index . 2 }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end -}}

{{/* To the OpenID provider, known by port: a policy cannot name hosts. */}}
{{- define "kaizen-otel.providerEgress" -}}
{{- if eq .Values.auth.type "oidc" }}
- ports:
    - {protocol: TCP, port: {{ include "kaizen-otel.port" .Values.auth.oidc.issuer }}}
{{- end }}
{{- end -}}

{{/* The components of this release that send to the receivers, as a JSON list. */}}
{{- define "kaizen-otel.ownSenders" -}}
{{- $found := list -}}
{{- if .Values.agent.enabled -}}{{- $found = append $found "agent" -}}{{- end -}}
{{- if .Values.test.enabled -}}{{- $found = append $found "test" -}}{{- end -}}
{{- if and .Values.audit.verification.enabled .Values.audit.verification.emit -}}{{- $found = append $found "verify" -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}
