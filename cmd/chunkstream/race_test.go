//go:build race

package main

// slowdown makes documents smaller where everything takes many times as long.
const slowdown = 8
