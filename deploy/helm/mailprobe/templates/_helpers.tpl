{{- define "mailprobe.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "mailprobe.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "mailprobe.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "mailprobe.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mailprobe.selector" -}}
app.kubernetes.io/name: {{ include "mailprobe.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mailprobe.labels" -}}
{{ include "mailprobe.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "mailprobe.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mailprobe.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "mailprobe.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "mailprobe.secret" -}}
{{- if .Values.existingSecret -}}
{{- .Values.existingSecret -}}
{{- else if .Values.secrets -}}
{{- include "mailprobe.fullname" . -}}
{{- end -}}
{{- end -}}

{{- /* where the agent listens and writes: what the Pod's port and volume go by; an existing ConfigMap is not seen here */ -}}
{{- define "mailprobe.agent" -}}
{{- $agent := dict "listen" "[::]:10587" "journal" "/var/lib/mailprobe/journal.db" -}}
{{- if not .Values.existingConfigMap -}}
{{- $agent = mergeOverwrite $agent (pick (default dict .Values.config.agent) "listen" "journal") -}}
{{- end -}}
{{- toYaml $agent -}}
{{- end -}}

{{- define "mailprobe.port" -}}
{{- $listen := toString (include "mailprobe.agent" . | fromYaml).listen -}}
{{- if not (regexMatch ":[1-9][0-9]{0,4}$" $listen) -}}
{{- fail (printf "config.agent.listen is %q; it must be an address and a port, as in [::]:10587" $listen) -}}
{{- end -}}
{{- if regexMatch "^(localhost|127\\.|\\[::1\\])" $listen -}}
{{- fail (printf "config.agent.listen is %q, where nobody outside the pod can ask, the kubelet included; write [::]:10587" $listen) -}}
{{- end -}}
{{- regexFind "[0-9]+$" $listen -}}
{{- end -}}

{{- /* what the configuration says, over what the chart fills in */ -}}
{{- define "mailprobe.config" -}}
{{- $filled := dict "agent" (include "mailprobe.agent" . | fromYaml | merge (dict "name" (include "mailprobe.fullname" .))) -}}
{{- if include "mailprobe.secret" . -}}
{{- $_ := set $filled "secrets_dir" "/run/secrets/mailprobe" -}}
{{- end -}}
{{- toYaml (mergeOverwrite $filled (deepCopy .Values.config)) -}}
{{- end -}}

{{- define "mailprobe.pod" -}}
metadata:
  labels:
    {{- include "mailprobe.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if not .Values.existingConfigMap }}
    checksum/config: {{ include "mailprobe.config" . | sha256sum | trunc 63 }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "mailprobe.serviceAccount" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 15
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: mailprobe
      image: {{ include "mailprobe.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - run
        - --config=/etc/mailprobe/mailprobe.yaml
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        # over what the file says: the port that is asked, and the volume that is mounted
        {{- $agent := include "mailprobe.agent" . | fromYaml }}
        - {name: MAILPROBE_AGENT__LISTEN, value: {{ $agent.listen | quote }}}
        - {name: MAILPROBE_AGENT__JOURNAL, value: {{ $agent.journal | quote }}}
        {{- if gt (int .Values.shards) 1 }}
        - name: MAILPROBE_AGENT__NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - {name: MAILPROBE_AGENT__SHARD, value: "ordinal/{{ .Values.shards }}"}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: http, containerPort: {{ include "mailprobe.port" . }}, protocol: TCP}
      # up to ten minutes: with a large journal a start on a cold disk takes more than one
      startupProbe:
        {{- include "mailprobe.probe" (dict "path" "/-/healthy" "probes" .Values.probes) | nindent 8 }}
        periodSeconds: 1
        failureThreshold: 600
      livenessProbe:
        {{- include "mailprobe.probe" (dict "path" "/-/healthy" "probes" .Values.probes) | nindent 8 }}
        periodSeconds: 15
        timeoutSeconds: 5
        failureThreshold: 4
      readinessProbe:
        {{- include "mailprobe.probe" (dict "path" "/-/ready" "probes" .Values.probes) | nindent 8 }}
        periodSeconds: 5
        timeoutSeconds: 5
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: config, mountPath: /etc/mailprobe, readOnly: true}
        - {name: journal, mountPath: /var/lib/mailprobe}
        {{- if include "mailprobe.secret" . }}
        - {name: secrets, mountPath: /run/secrets/mailprobe, readOnly: true}
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ default (include "mailprobe.fullname" .) .Values.existingConfigMap | quote }}
    {{- with include "mailprobe.secret" . }}
    - name: secrets
      # 0440
      secret: {secretName: {{ . | quote }}, defaultMode: 288, optional: false}
    {{- end }}
    {{- if not .Values.persistence.enabled }}
    - name: journal
      emptyDir: {sizeLimit: {{ .Values.persistence.size }}}
    {{- else if eq (int .Values.shards) 1 }}
    - name: journal
      persistentVolumeClaim:
        claimName: {{ default (include "mailprobe.fullname" .) .Values.persistence.existingClaim | quote }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
  {{- with index $.Values $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "mailprobe.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ .probes.scheme }}
  {{- with .probes.httpHeaders }}
  httpHeaders:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "mailprobe.claim" -}}
accessModes: [ReadWriteOnce]
resources: {requests: {storage: {{ .Values.persistence.size }}}}
{{- with .Values.persistence.storageClassName }}
storageClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "mailprobe.endpoint" -}}
- port: http
  path: /metrics
  interval: {{ .interval }}
  scrapeTimeout: {{ .scrapeTimeout }}
  relabelings:
    # one job for all agents, whose name the alert about an agent that is gone goes by
    - {targetLabel: job, replacement: mailprobe, action: replace}
    # the operator's word for the port: it would turn the label of our metrics into exported_endpoint
    - {action: labeldrop, regex: endpoint}
    {{- with .site }}
    - {targetLabel: site, replacement: {{ . | quote }}, action: replace}
    {{- end }}
    {{- with .relabelings }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .endpoint }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
