{{/*
A backend of the demo: everything in memory, one pod, for a look around. dict "root" $ "tier"
"demo-jaeger" "image" (repository and tag) "ports" (name -> port) "ready" (path and port name) "memory"
"1Gi" "arguments" (list) "variables" (NAME -> value) "folders" (writable ones) "configMap" (path)
"user" and "isWritable" where the image asks for it
*/}}
{{- define "kaizen-otel.demoDeployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "kaizen-otel.metadata" . | nindent 2 }}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector:
    matchLabels:
      {{- include "kaizen-otel.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      {{- include "kaizen-otel.podMetadata" . | nindent 6 }}
    spec:
      serviceAccountName: {{ include "kaizen-otel.serviceAccountName" $root | quote }}
      {{- include "kaizen-otel.podSecurity" (dict "root" $root "user" (default 10001 .user)) | nindent 6 }}
      containers:
        - name: backend
          image: {{ printf "%s:%s" .image.repository .image.tag | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          {{- with .arguments }}
          args:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          env:
            {{- range $name, $value := .variables }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
          ports:
            {{- range $name, $port := .ports }}
            - {name: {{ $name }}, containerPort: {{ $port }}}
            {{- end }}
          {{- include "kaizen-otel.containerSecurity" (dict "isWritable" .isWritable) | nindent 10 }}
          resources:
            requests: {cpu: 50m, memory: 128Mi}
            limits: {cpu: "2", memory: {{ .memory }}}
          startupProbe:
            httpGet: {path: {{ .ready }}, port: query}
            periodSeconds: 2
            failureThreshold: 90
          readinessProbe:
            httpGet: {path: {{ .ready }}, port: query}
            periodSeconds: 5
          livenessProbe:
            tcpSocket: {port: query}
            periodSeconds: 10
            failureThreshold: 6
          volumeMounts:
            {{- range $index, $folder := .folders }}
            - {name: data, mountPath: {{ $folder }}, subPath: folder-{{ $index }}}
            {{- end }}
            {{- with .configMap }}
            - {name: config, mountPath: {{ . }}, readOnly: true}
            {{- end }}
      volumes:
        - name: data
          emptyDir: {sizeLimit: 2Gi}
        {{- if .configMap }}
        - name: config
          configMap: {name: {{ include "kaizen-otel.tierName" . }}}
        {{- end }}
{{- end -}}

{{- define "kaizen-otel.demoService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "kaizen-otel.metadata" . | nindent 2 }}
spec:
  selector:
    {{- include "kaizen-otel.selectorLabels" . | nindent 4 }}
  ports:
    {{- range $name, $port := .ports }}
    - {name: {{ $name }}, port: {{ $port }}, targetPort: {{ $name }}}
    {{- end }}
{{- end -}}

{{/* Ports of the demo's backends, as JSON. */}}
{{- define "kaizen-otel.demoPorts" -}}
{{- get (dict
  "demo-jaeger" (dict "otlp-grpc" 4317 "query" 16686)
  "demo-prometheus" (dict "query" 9090)
  "demo-opensearch" (dict "query" 9200)) . | toJson -}}
{{- end -}}
