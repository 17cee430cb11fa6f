#!/bin/sh
# Start the stack of this folder and say where its pages are:
#   start_observability.sh [up | status | logs | down] [options]
# With kaizen-otel installed this is `kaizen-otel stack`, which checks more and needs no Docker; without
# it Docker Compose is called, whose options are then the ones that count.
set -eu
folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
action=${1:-up}
[ $# -eq 0 ] || shift

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 4
}

case $action in
    up | status | logs | down) ;;
    *)
        printf 'error: %s: say up, status, logs or down\n' "$action" >&2
        exit 2
        ;;
esac

if command -v kaizen-otel >/dev/null 2>&1; then
    exec kaizen-otel stack "$action" "$@"
fi

command -v docker >/dev/null 2>&1 ||
    fail 'Docker is not installed: https://docs.docker.com/engine/install, or `pip install kaizen-otel`, which needs none'
docker compose version >/dev/null 2>&1 ||
    fail 'the Compose plugin of Docker is missing: https://docs.docker.com/compose/install'
docker version >/dev/null 2>&1 ||
    fail 'no Docker engine answers: start Docker Desktop or the service `docker`, or set DOCKER_HOST'

compose() {
    docker compose --file "$folder/compose.yaml" "$@"
}

case $action in
    up)
        compose up --detach --wait "$@"
        cat <<END
Jaeger         http://localhost:${KAIZEN_OTEL_JAEGER_PORT:-16686}
Prometheus     http://localhost:${KAIZEN_OTEL_PROMETHEUS_PORT:-9090}
Grafana        http://localhost:${KAIZEN_OTEL_GRAFANA_PORT:-3000}
Elasticsearch  http://localhost:${KAIZEN_OTEL_ELASTICSEARCH_PORT:-9200}
Kibana         http://localhost:${KAIZEN_OTEL_KIBANA_PORT:-5601}
OTLP           http://localhost:${KAIZEN_OTEL_HTTP_PORT:-4318}, gRPC on ${KAIZEN_OTEL_GRPC_PORT:-4317}, audit on ${KAIZEN_OTEL_AUDIT_PORT:-4319}
$0 down ends it.
END
        ;;
    status) compose ps --all "$@" ;;
    logs) compose logs --tail 40 "$@" ;;
    down) compose down --remove-orphans "$@" ;;
esac
