//go:build long

package main

const allFaults = true
