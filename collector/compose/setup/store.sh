#!/bin/sh
# Index template and retention policy, before the first log record:  store.sh URL
# Elasticsearch and OpenSearch each get their own.  Running it again changes nothing.
set -eu
url=$1
here=$(dirname "$0")
files=$here/../elasticsearch

put() {
    printf 'PUT %s\n' "$1"
    curl --silent --show-error --fail-with-body --max-time 60 --request PUT "$url/$1" \
        --header 'Content-Type: application/json' --data-binary "@$2"
}

if curl --silent --show-error --fail --max-time 60 "$url" | grep -q '"distribution" *: *"opensearch"'; then
    put _index_template/kaizen-otel-logs "$files/index-template.json"
else
    put _ilm/policy/kaizen-otel-logs "$files/elasticsearch/retention-policy.json"
    put _index_template/kaizen-otel-logs "$files/elasticsearch/index-template.json"
fi
