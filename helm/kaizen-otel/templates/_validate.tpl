{{/* What no schema can say. Each message names the value to set. */}}
{{- define "kaizen-otel.validate" -}}
{{- include "kaizen-otel.validateDestinations" . -}}
{{- include "kaizen-otel.validateExtra" . -}}
{{- include "kaizen-otel.validateTiers" . -}}
{{- include "kaizen-otel.validateImages" . -}}
{{- include "kaizen-otel.validateSecurity" . -}}
{{- include "kaizen-otel.validateConfigs" . -}}
{{- range $tier := list "gateway" "agent" "audit" -}}
{{- include "kaizen-otel.validateAddresses" (list (printf "%s.config" $tier) (index $.Values $tier).config) -}}
{{- end -}}
{{- include "kaizen-otel.validateSecrets" . -}}
{{- include "kaizen-otel.validateVolumes" . -}}
{{- end -}}

{{- define "kaizen-otel.validateDestinations" -}}
{{- $d := .Values.destinations -}}
{{- if .Values.demo.enabled -}}
{{- range list (list "jaeger.tls.enabled" $d.jaeger.tls.enabled) (list "jaeger.bearerSecret.name" $d.jaeger.bearerSecret.name)
  (list "prometheus.tls.caSecret.name" $d.prometheus.tls.caSecret.name) (list "prometheus.bearerSecret.name" $d.prometheus.bearerSecret.name)
  (list "elasticsearch.tls.caSecret.name" $d.elasticsearch.tls.caSecret.name) (list "elasticsearch.basicSecret.name" $d.elasticsearch.basicSecret.name)
  (list "elasticsearch.apiKeySecret.name" $d.elasticsearch.apiKeySecret.name) -}}
{{- if last . -}}
{{- fail (printf "demo.enabled replaces the destinations by backends without TLS and credentials, and destinations.%s is set. Please set demo.enabled to false." (first .)) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- range list
  (list "jaeger" "host:port of Jaeger's OTLP/gRPC receiver, for example jaeger-collector:4317")
  (list "prometheus" "the URL of a remote-write receiver, for example http://prometheus:9090/api/v1/write")
  (list "elasticsearch" "the URL of Elasticsearch or OpenSearch, for example https://elasticsearch-es-http:9200") -}}
{{- if not (index $d (first .)).endpoint -}}
{{- fail (printf "destinations.%s.endpoint is empty. Please set it to %s." (first .) (last .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $d.elasticsearch.basicSecret.name $d.elasticsearch.apiKeySecret.name -}}
{{- fail "destinations.elasticsearch has both basicSecret and apiKeySecret. Please set the name of one of them to \"\"." -}}
{{- end -}}
{{- range $secret := list "caSecret" "clientSecret" -}}
{{- if and (index $d.jaeger.tls $secret).name (not $d.jaeger.tls.enabled) -}}
{{- fail (printf "destinations.jaeger.tls.%s is set but TLS is off. Please set destinations.jaeger.tls.enabled to true, or the Secret's name to \"\"." $secret) -}}
{{- end -}}
{{- range $name := list "prometheus" "elasticsearch" -}}
{{- $destination := index $d $name -}}
{{- if and (index $destination.tls $secret).name (not (hasPrefix "https://" $destination.endpoint)) -}}
{{- fail (printf "destinations.%s.tls.%s is set but the endpoint is %q. Please set destinations.%s.endpoint to an https:// URL, or the Secret's name to \"\"." $name $secret $destination.endpoint $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $d.jaeger.bearerSecret.name (not $d.jaeger.tls.enabled) -}}
{{- fail "destinations.jaeger.bearerSecret would travel unencrypted. Please set destinations.jaeger.tls.enabled to true, or the Secret's name to \"\"." -}}
{{- end -}}
{{- range list (list "prometheus" "bearerSecret") (list "elasticsearch" "basicSecret") (list "elasticsearch" "apiKeySecret") -}}
{{- $destination := index $d (first .) -}}
{{- if and (index $destination (last .)).name (not (hasPrefix "https://" $destination.endpoint)) -}}
{{- fail (printf "destinations.%s.%s would travel unencrypted. Please set destinations.%s.endpoint to an https:// URL, or the Secret's name to \"\"." (first .) (last .) (first .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kaizen-otel.validateExtra" -}}
{{- $seen := dict -}}
{{- range .Values.destinations.extra -}}
{{- $path := printf "destinations.extra[%s]" .name -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "destinations.extra has two destinations with the name %q. Please set different names." .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- $isUrl := regexMatch "^https?://" .endpoint -}}
{{- if and (eq .protocol "http") (not $isUrl) -}}
{{- fail (printf "%s.endpoint is %q. Please set it to a URL, for example https://otlp.example.com:4318, or protocol to grpc." $path .endpoint) -}}
{{- end -}}
{{- if and (eq .protocol "grpc") (or $isUrl (not (regexMatch ":[0-9]+$" .endpoint))) -}}
{{- fail (printf "%s.endpoint is %q. Please set it to host:port, for example otlp.example.com:4317, or protocol to http." $path .endpoint) -}}
{{- end -}}
{{- $isEncrypted := ternary (hasPrefix "https://" .endpoint) (ternary true false (default false (.tls).enabled)) $isUrl -}}
{{- if and (eq .protocol "http") (.tls).enabled (not $isEncrypted) -}}
{{- fail (printf "%s.tls.enabled is true but the endpoint is %q. Please set %s.endpoint to an https:// URL." $path .endpoint $path) -}}
{{- end -}}
{{- range $secret := list (list "bearerSecret" (.bearerSecret).name) (list "tls.caSecret" ((.tls).caSecret).name) -}}
{{- if and (last $secret) (not $isEncrypted) -}}
{{- fail (printf "%s.%s is set but the connection is not encrypted. Please set %s.tls.enabled to true (grpc) or its endpoint to an https:// URL (http)." $path (first $secret) $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kaizen-otel.validateTiers" -}}
{{- $v := .Values -}}
{{- $scaling := $v.gateway.autoscaling -}}
{{- if $scaling.enabled -}}
{{- if $v.gateway.queue.persistent -}}
{{- fail "gateway.autoscaling.enabled and gateway.queue.persistent are both true: a scale-down would leave full queues behind. Please set one of them to false." -}}
{{- end -}}
{{- if lt (int $scaling.maxReplicas) (int $scaling.minReplicas) -}}
{{- fail (printf "gateway.autoscaling.maxReplicas is %d. Please set it to gateway.autoscaling.minReplicas (%d) or more." (int $scaling.maxReplicas) (int $scaling.minReplicas)) -}}
{{- end -}}
{{- if not (($v.gateway.resources.requests).cpu) -}}
{{- fail "gateway.autoscaling.cpuPercent is a share of the CPU request, and there is none. Please set gateway.resources.requests.cpu." -}}
{{- end -}}
{{- end -}}
{{- if and $v.gateway.tailSampling.enabled (or $scaling.enabled (gt (int $v.gateway.replicas) 1)) -}}
{{- fail "gateway.tailSampling needs all spans of a trace in one Collector. Please set gateway.replicas to 1 and gateway.autoscaling.enabled to false, or gateway.tailSampling.enabled to false." -}}
{{- end -}}
{{- if not $v.audit.enabled -}}
{{- range $part := list "guard" "verification" "prune" "deletionGuard" -}}
{{- if (index $v.audit $part).enabled -}}
{{- fail (printf "audit.%s.enabled is true without an audit tier. Please set audit.enabled to true, or audit.%s.enabled to false." $part $part) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.audit.deletionGuard.enabled (has "Delete" (values $v.audit.volume.retention)) -}}
{{- fail "audit.deletionGuard would refuse what audit.volume.retention asks for. Please set audit.volume.retention.whenDeleted and whenScaled to Retain, or audit.deletionGuard.enabled to false." -}}
{{- end -}}
{{- if $v.audit.prune.enabled -}}
{{- range $path, $secret := dict "audit.trustSecret.name" $v.audit.trustSecret "audit.anchorsSecret.name" $v.audit.anchorsSecret "audit.prune.keySecret.name" $v.audit.prune.keySecret -}}
{{- if not $secret.name -}}
{{- fail (printf "audit.prune removes only what is verified, signed and anchored. Please set %s to an existing Secret, or audit.prune.enabled to false." $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range include "kaizen-otel.tiers" . | fromJsonArray -}}
{{- $memory := include "kaizen-otel.mebibytes" (list (index $v .).resources.limits.memory 1.0) | int -}}
{{- if lt $memory 128 -}}
{{- fail (printf "%s.resources.limits.memory is %d MiB. Please set it to 128Mi or more." . $memory) -}}
{{- end -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.metricsFrom) (or $v.monitoring.podMonitor $v.monitoring.serviceMonitor) -}}
{{- fail "networkPolicy.metricsFrom is empty, so nobody could read the metrics that monitoring.podMonitor or monitoring.serviceMonitor ask for. Please set it to the peers of your Prometheus." -}}
{{- end -}}
{{- if and $v.monitoring.podMonitor $v.monitoring.serviceMonitor -}}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor would read every metric twice. Please set one of them to false." -}}
{{- end -}}
{{- range $key, $_ := $v.podLabels -}}
{{- if regexMatch "^(app\\.kubernetes\\.io/(name|instance|component|version|managed-by)|helm\\.sh/chart)$" $key -}}
{{- fail (printf "podLabels[%s] is a label of this chart's own. Please set another key." $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kaizen-otel.validateImages" -}}
{{- if not .Values.image.registry -}}
{{- $v := .Values -}}
{{- range list (list "audit.guard.enabled" $v.audit.guard.enabled) (list "audit.verification.enabled" $v.audit.verification.enabled)
  (list "audit.prune.enabled" $v.audit.prune.enabled) (list "test.enabled" $v.test.enabled)
  (list "image.distribution" (eq $v.image.distribution "kaizen-otel")) -}}
{{- if last . -}}
{{- fail (printf "%s needs an image of this project, which no public registry has. Please set image.registry to where you pushed it, for example registry.example.com/observability, or %s to %s." (first .) (first .) (ternary "contrib" "false" (eq (first .) "image.distribution"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
