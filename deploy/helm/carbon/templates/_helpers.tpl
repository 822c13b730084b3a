{{- define "carbon.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "carbon.selector" -}}
app.kubernetes.io/name: carbon
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "carbon.labels" -}}
{{ include "carbon.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "carbon.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "carbon.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "carbon.tokenSecret" -}}
{{- .Values.token.existingSecret | default (printf "%s-token" (include "carbon.name" .)) -}}
{{- end -}}

{{- define "carbon.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "carbon.name" .)) -}}
{{- end -}}

{{- define "carbon.scheme" -}}
{{- ternary "HTTPS" "HTTP" .Values.tls.enabled -}}
{{- end -}}
