{{/*
Addresses in configuration by hand. The Collector's own validate takes any text for the address of a
receiver, and the rollout would wait for pods that end at once.
*/}}

{{/* One part of a tier's config: list "gateway.config.receivers" part */}}
{{- define "kaizen-otel.validateAddresses" -}}
{{- $path := index . 0 -}}
{{- $part := index . 1 -}}
{{- if kindIs "map" $part -}}
{{- range $key, $value := $part -}}
{{- $inner := printf "%s.%s" $path $key -}}
{{- if and (kindIs "string" $value) (regexMatch "^(.+_)?endpoint$" $key) -}}
{{- include "kaizen-otel.validateAddress" (list $inner $value) -}}
{{- else -}}
{{- include "kaizen-otel.validateAddresses" (list $inner $value) -}}
{{- end -}}
{{- end -}}
{{- else if kindIs "slice" $part -}}
{{- range $index, $value := $part -}}
{{- $inner := printf "%s[%d]" $path $index -}}
{{- if and (kindIs "string" $value) (hasSuffix ".endpoints" $path) -}}
{{- include "kaizen-otel.validateAddress" (list $inner $value) -}}
{{- else -}}
{{- include "kaizen-otel.validateAddresses" (list $inner $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
One address: list "gateway.config.receivers.otlp.protocols.grpc.endpoint" "0.0.0.0:4317". What names a
variable is not known here; an empty one is the component's own default.
*/}}
{{- define "kaizen-otel.validateAddress" -}}
{{- $path := index . 0 -}}
{{- $address := index . 1 -}}
{{- $name := "[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?" -}}
{{- $host := printf "(%s(\\.%s)*\\.?|\\[[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f.]{0,15}){2,7}(%%[^]\\s]+)?\\])" $name $name -}}
{{- $port := "([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])" -}}
{{- $web := printf "https?://%s(:%s)?([/?]\\S*)?" $host $port -}}
{{- /* Sockets, paths, and names for a resolver of gRPC: whatever their schemes allow. */ -}}
{{- $other := "(unix|unix-abstract|vsock|dns|ipv4|ipv6|passthrough|xds):\\S+|/\\S+|[a-z][a-z0-9+.-]*://\\S+" -}}
{{- $isWeb := regexMatch "^https?:" $address -}}
{{- if and $address (not (contains "${" $address)) -}}
{{- if regexMatch "\\.config\\.(receivers\\.otlp|extensions\\.health_check)(/[^.]*)?\\." $path -}}
{{- if not (regexMatch (printf "^(%s?:%s|unix:\\S+|/\\S+)$" $host $port) $address) -}}
{{- fail (printf "%s is %q, where nothing can listen. Please set %s to host:port, for example 0.0.0.0:4317." $path $address $path) -}}
{{- end -}}
{{- else if not (regexMatch (ternary (printf "^%s$" $web) (printf "^(%s|%s?:%s|%s)$" $host $host $port $other) $isWeb) $address) -}}
{{- fail (printf "%s is %q, which is no address. Please set %s to host:port, or to a URL." $path $address $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
