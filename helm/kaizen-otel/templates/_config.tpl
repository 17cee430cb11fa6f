{{/*
The configuration of a tier: the shipped file and overlays, unchanged, then what this release adds.
The Collector merges the files in the order of its arguments: maps merge, lists are replaced.
*/}}

{{/* The overlays of a tier, as a JSON list of names. */}}
{{- define "kaizen-otel.overlays" -}}
{{- $v := .root.Values -}}
{{- $found := list -}}
{{- if $v.tls.enabled -}}
{{- $found = append $found "tls" -}}
{{- if $v.tls.clients.required -}}{{- $found = append $found "mtls" -}}{{- end -}}
{{- end -}}
{{- if ne $v.auth.type "none" -}}
{{- $prefix := get (dict "gateway" "" "agent" "upstream-" "audit" "audit-") .tier -}}
{{- $found = append $found (printf "%s%s" $prefix $v.auth.type) -}}
{{- end -}}
{{- if eq .tier "gateway" -}}
{{- if $v.gateway.tailSampling.enabled -}}{{- $found = append $found "tail-sampling" -}}{{- end -}}
{{- if eq $v.destinations.prometheus.protocol "otlp" -}}{{- $found = append $found "metrics-otlp" -}}{{- end -}}
{{- if and (or $v.demo.enabled (eq $v.destinations.elasticsearch.server "opensearch")) (eq $v.image.distribution "contrib") -}}
{{- $found = append $found "opensearch" -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The shipped files of a tier, merged as the Collector does, as JSON. */}}
{{- define "kaizen-otel.shipped" -}}
{{- $root := .root -}}
{{- $merged := $root.Files.Get (printf "files/%s.yaml" .tier) | fromYaml -}}
{{- range include "kaizen-otel.overlays" . | fromJsonArray -}}
{{- $merged = mergeOverwrite $merged ($root.Files.Get (printf "files/overlays/%s.yaml" .) | fromYaml) -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{/* What this release adds to the shipped files of a tier; empty when nothing. */}}
{{- define "kaizen-otel.release" -}}
{{- $added := dict -}}
{{- if ne .tier "audit" -}}
{{- /* Audit records belong to the audit tier: here their receiver answers nobody. */ -}}
{{- $_ := set $added "receivers" (dict "otlp/audit" (dict "protocols" (dict "http" (dict "endpoint" "127.0.0.1:4319")))) -}}
{{- $shipped := include "kaizen-otel.shipped" . | fromJson -}}
{{- $exporters := dict -}}
{{- $pipelines := dict -}}
{{- if eq .tier "gateway" -}}
{{- $exporters = include "kaizen-otel.destinations" .root | fromJson -}}
{{- range $signal := list "traces" "metrics" "logs" -}}
{{- $more := list -}}
{{- range $.root.Values.destinations.extra -}}
{{- if has $signal .signals -}}{{- $more = append $more (include "kaizen-otel.extraName" .) -}}{{- end -}}
{{- end -}}
{{- if $more -}}
{{- $there := index $shipped.service.pipelines $signal "exporters" -}}
{{- $_ := set $pipelines $signal (dict "exporters" (concat $there $more)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $merged := mergeOverwrite (deepCopy $shipped) (deepCopy (dict "exporters" $exporters "service" (dict "pipelines" $pipelines))) -}}
{{- $sizes := include "kaizen-otel.queueSizes" (dict "config" $merged "tier" .tier "size" (index .root.Values .tier).queue.size) | fromJson -}}
{{- $_ := set $added "exporters" (mergeOverwrite $exporters $sizes) -}}
{{- if $pipelines -}}{{- $_ := set $added "service" (dict "pipelines" $pipelines) -}}{{- end -}}
{{- end -}}
{{- if $added -}}{{- toYaml $added -}}{{- end -}}
{{- end -}}

{{/*
How much each queue on disk may hold, so that the volume is large enough for all, as JSON: dict "config"
(merged) "tier" "gateway" "size" "10Gi".  An exporter has a queue for each pipeline; a file grows to three times what it
holds while it is written anew.
*/}}
{{- define "kaizen-otel.queueSizes" -}}
{{- $config := .config -}}
{{- $queues := dict -}}
{{- $count := 0 -}}
{{- range $pipeline := $config.service.pipelines -}}
{{- range $name := $pipeline.exporters -}}
{{- $queue := dig "sending_queue" (dict) (default dict (get $config.exporters $name)) -}}
{{- if $queue.storage -}}
{{- $_ := set $queues $name true -}}
{{- $count = add1 $count -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found := dict -}}
{{- range $name, $_ := $queues -}}
{{- $share := divf (mulf (include "kaizen-otel.mebibytes" (list $.size 1.0) | float64) 1048576) (mulf 3 $count) | floor | int64 -}}
{{- if lt $share 16777216 -}}
{{- fail (printf "%s.queue.size is %s, and a third of it is not enough for %d queues of 16 MiB at least. Please set %s.queue.size to %dMi or more." $.tier (toString $.size) (int $count) $.tier (mul 48 $count)) -}}
{{- end -}}
{{- $_ := set $found $name (dict "sending_queue" (dict "sizer" "bytes" "queue_size" $share)) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* File name -> content, in a ConfigMap's data. The names' order is not the order of the arguments. */}}
{{- define "kaizen-otel.configData" -}}
{{- $root := .root -}}
{{ .tier }}.yaml: |
{{ $root.Files.Get (printf "files/%s.yaml" .tier) | trimSuffix "\n" | indent 2 }}
{{- range include "kaizen-otel.overlays" . | fromJsonArray }}
{{ . }}.yaml: |
{{ $root.Files.Get (printf "files/overlays/%s.yaml" .) | trimSuffix "\n" | indent 2 }}
{{- end }}
{{- with include "kaizen-otel.release" . }}
release.yaml: |
{{ . | indent 2 }}
{{- end }}
{{- with (index $root.Values .tier).config }}
custom.yaml: |
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}

{{/* The arguments that name the files, in the order in which they are merged. */}}
{{- define "kaizen-otel.configArguments" -}}
{{- $folder := "--config=/etc/kaizen-otel/config" -}}
- {{ $folder }}/{{ .tier }}.yaml
{{- range include "kaizen-otel.overlays" . | fromJsonArray }}
- {{ $folder }}/{{ . }}.yaml
{{- end }}
{{- if include "kaizen-otel.release" . }}
- {{ $folder }}/release.yaml
{{- end }}
{{- if (index .root.Values .tier).config }}
- {{ $folder }}/custom.yaml
{{- end }}
{{- end -}}

{{/* The hash in the name makes every config a new object: a pod never reads a newer one. */}}
{{- define "kaizen-otel.configName" -}}
{{- printf "%s-%s" (include "kaizen-otel.tierName" .) (include "kaizen-otel.configData" . | sha256sum | trunc 10) -}}
{{- end -}}
