{{/* What only a look at the cluster can tell, before anything changes. */}}

{{/* Every Secret that the values name: list of [value, name, key...], as JSON. */}}
{{- define "kaizen-otel.namedSecrets" -}}
{{- $v := .Values -}}
{{- $d := $v.destinations -}}
{{- $found := list -}}
{{- range $name := list "jaeger" "prometheus" "elasticsearch" -}}
{{- $tls := (index $d $name).tls -}}
{{- $found = append $found (list (printf "destinations.%s.tls.caSecret" $name) $tls.caSecret.name $tls.caSecret.key) -}}
{{- $found = append $found (list (printf "destinations.%s.tls.clientSecret" $name) $tls.clientSecret.name $tls.clientSecret.certificateKey $tls.clientSecret.privateKeyKey) -}}
{{- end -}}
{{- range $d.extra -}}
{{- $path := printf "destinations.extra[%s]" .name -}}
{{- $found = append $found (list (printf "%s.tls.caSecret" $path) ((.tls).caSecret).name ((.tls).caSecret).key) -}}
{{- $found = append $found (list (printf "%s.bearerSecret" $path) (.bearerSecret).name (.bearerSecret).key) -}}
{{- end -}}
{{- $basic := $d.elasticsearch.basicSecret -}}
{{- $found = append $found (list "destinations.elasticsearch.basicSecret" $basic.name $basic.userKey $basic.passwordKey) -}}
{{- range $path, $secret := dict
  "destinations.jaeger.bearerSecret" $d.jaeger.bearerSecret "destinations.prometheus.bearerSecret" $d.prometheus.bearerSecret
  "destinations.elasticsearch.apiKeySecret" $d.elasticsearch.apiKeySecret
  "tls.clients.caSecret" $v.tls.clients.caSecret "tls.clients.auditCaSecret" $v.tls.clients.auditCaSecret
  "auth.telemetrySecret" $v.auth.telemetrySecret "auth.auditSecret" $v.auth.auditSecret "auth.agentSecret" $v.auth.agentSecret
  "auth.oidc.caSecret" $v.auth.oidc.caSecret "audit.trustSecret" $v.audit.trustSecret
  "audit.anchorsSecret" $v.audit.anchorsSecret "audit.prune.keySecret" $v.audit.prune.keySecret -}}
{{- $found = append $found (list $path $secret.name $secret.key) -}}
{{- end -}}
{{- range $path, $secret := dict "tls.serverSecret" $v.tls.serverSecret "agent.clientSecret" $v.agent.clientSecret "tools.clientSecret" $v.tools.clientSecret -}}
{{- $found = append $found (list $path $secret.name $secret.certificateKey $secret.privateKeyKey) -}}
{{- end -}}
{{- if or $v.agent.enabled $v.tls.clients.required (include "kaizen-otel.toolsSend" .) -}}
{{- $found = append $found (list "tls.serverSecret" $v.tls.serverSecret.name $v.tls.serverSecret.caKey) -}}
{{- end -}}
{{- $found = append $found (list "tools.environmentSecret" $v.tools.environmentSecret) -}}
{{- range $tier := list "gateway" "agent" "audit" -}}
{{- range (index $v $tier).environmentSecrets -}}{{- $found = append $found (list (printf "%s.environmentSecrets" $tier) .) -}}{{- end -}}
{{- end -}}
{{- range $v.image.pullSecrets -}}{{- $found = append $found (list "image.pullSecrets" .) -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/*
Against a cluster Helm can look the Secrets up, so a missing one is told by its value's name before
anything changes. Without a cluster every lookup finds nothing, a list included: then this says nothing.
*/}}
{{- define "kaizen-otel.validateSecrets" -}}
{{- $namespace := .Release.Namespace -}}
{{- if and .Values.validation.secrets (lookup "v1" "Secret" $namespace "") -}}
{{- range include "kaizen-otel.namedSecrets" . | fromJsonArray -}}
{{- $path := index . 0 -}}
{{- $name := index . 1 -}}
{{- if $name -}}
{{- $secret := lookup "v1" "Secret" $namespace $name -}}
{{- if not $secret -}}
{{- fail (printf "%s names the Secret %q, and the namespace %s has none of that name. Please create it, or set %s to another one." $path $name $namespace $path) -}}
{{- end -}}
{{- range slice . 2 -}}
{{- if not (hasKey (default dict $secret.data) .) -}}
{{- fail (printf "%s names the key %q of the Secret %q, which has no such key. Please add it to the Secret, or set %s to another key." $path . $name $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Kubernetes does not change the claims of a StatefulSet, and says so when half of an upgrade is done.
*/}}
{{- define "kaizen-otel.validateVolumes" -}}
{{- $v := .Values -}}
{{- $root := . -}}
{{- range list (list "gateway" "gateway.queue" $v.gateway.queue $v.gateway.queue.persistent) (list "audit" "audit.volume" $v.audit.volume $v.audit.enabled) -}}
{{- $path := index . 1 -}}
{{- $wanted := index . 2 -}}
{{- $name := include "kaizen-otel.tierName" (dict "root" $root "tier" (first .)) -}}
{{- $there := ternary (lookup "apps/v1" "StatefulSet" $root.Release.Namespace $name) dict (last .) -}}
{{- range dig "spec" "volumeClaimTemplates" (list) (default dict $there) -}}
{{- $size := dig "spec" "resources" "requests" "storage" "" . -}}
{{- $class := dig "spec" "storageClassName" "" . -}}
{{- if ne (include "kaizen-otel.mebibytes" (list $size 1.0)) (include "kaizen-otel.mebibytes" (list $wanted.size 1.0)) -}}
{{- include "kaizen-otel.failVolume" (list $path "size" $wanted.size $size $name $root.Release.Namespace) -}}
{{- else if ne $class $wanted.storageClass -}}
{{- include "kaizen-otel.failVolume" (list $path "storageClass" $wanted.storageClass $class $name $root.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kaizen-otel.failVolume" -}}
{{- fail (printf "%s.%s is %q, and the claims of the StatefulSet %s have %q, which Kubernetes does not change. Please set %s.%s to %q, or change the claims yourself and let the StatefulSet be made again: kubectl --namespace %s delete statefulset %s --cascade=orphan" (index . 0) (index . 1) (index . 2) (index . 4) (index . 3) (index . 0) (index . 1) (index . 3) (index . 5) (index . 4)) -}}
{{- end -}}
