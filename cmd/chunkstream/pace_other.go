//go:build !linux

package main

import "time"

const timerSlack = 0

// sleepUntil returns at once: a timer has been waited for.
func sleepUntil(time.Time) {}
