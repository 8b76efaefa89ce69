module chunkstream/bench

go 1.26.0

require (
	chunkstream v0.0.0
	golang.org/x/net v0.62.0
)

replace chunkstream => ../
