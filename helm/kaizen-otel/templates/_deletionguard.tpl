{{/*
What the cluster refuses to delete without an annotation: dict "root" $ "what" "claims" "resource"
"persistentvolumeclaim" "says" "This claim ..." and "names" (list) where only some are meant. Both objects
belong to the whole cluster, so the namespace is in their name; they outlive the release, as what they
protect does.
*/}}
{{- define "kaizen-otel.deletionGuardMetadata" -}}
{{- $tier := dict "root" .root "tier" "audit" -}}
name: {{ .root.Release.Namespace }}-{{ include "kaizen-otel.tierName" $tier }}-{{ .what }}
labels:
  {{- include "kaizen-otel.labels" $tier | nindent 2 }}
annotations:
  helm.sh/resource-policy: keep
{{- end -}}

{{- define "kaizen-otel.deletionGuard" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  {{- include "kaizen-otel.deletionGuardMetadata" . | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - {apiGroups: [""], apiVersions: [v1], operations: [DELETE], resources: [{{ .resource }}s]}
    namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {{ .root.Release.Namespace | quote }}
    {{- if not .names }}
    # A StatefulSet gives its selector's labels to its claims.
    objectSelector:
      matchLabels:
        {{- include "kaizen-otel.selectorLabels" (dict "root" .root "tier" "audit") | nindent 8 }}
    {{- end }}
  {{- with .names }}
  # Not resourceNames: who deletes all of a namespace names none.
  matchConditions:
    - name: named-by-the-release
      expression: {{ printf "oldObject.metadata.name in %s" (toJson .) | squote }}
  {{- end }}
  validations:
    - expression: >-
        has(oldObject.metadata.annotations) && 'kaizen-otel/allow-delete' in oldObject.metadata.annotations
        && oldObject.metadata.annotations['kaizen-otel/allow-delete'] == 'true'
      message: >-
        {{ .says }} If it is to be deleted for good, annotate it first:
        kubectl annotate {{ .resource }} NAME kaizen-otel/allow-delete=true
      reason: Forbidden
{{- end -}}

{{- define "kaizen-otel.deletionGuardBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "kaizen-otel.deletionGuardMetadata" . | nindent 2 }}
spec:
  policyName: {{ .root.Release.Namespace }}-{{ include "kaizen-otel.tierName" (dict "root" .root "tier" "audit") }}-{{ .what }}
  validationActions: [Deny]
{{- end -}}

{{/* The Secrets that a trail is judged and pruned with, as a JSON list of names. */}}
{{- define "kaizen-otel.guardedSecrets" -}}
{{- with .Values.audit -}}
{{- list .trustSecret.name .anchorsSecret.name .prune.keySecret.name | compact | uniq | toJson -}}
{{- end -}}
{{- end -}}
