# Short names for what ./test and the go command do.
.PHONY: help serve test all kill fuzz bench dist

help:  ## this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST)
serve: ## run the service
	go run ./cmd/chunkstream serve
test:  ## everything that a change must pass
	./test
all:   ## that, and the long ones
	./test all
kill:  ## the kill loop
	./test kill
fuzz:  ## every fuzz target
	./test fuzz
bench: ## benchmarks, and the service under load
	./test bench
dist:  ## archives for every platform, with checksums and lists of parts, in dist/
	packaging/dist
