module kaizen-otel.test/pause

go 1.26.0
