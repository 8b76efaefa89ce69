package main

import (
	"syscall"
	"time"
)

// timerSlack is how long before a moment a timer is set to, for sleepUntil to do the rest. Waiting in epoll_wait, as an
// idle Go process does, is counted in milliseconds, so that a timer alone is late by one or two of them.
const timerSlack = 3 * time.Millisecond

// sleepUntil returns at due, late by the kernel's 50 µs of slack.
func sleepUntil(due time.Time) {
	for left := time.Until(due); left > 0; left = time.Until(due) {
		pause := syscall.NsecToTimespec(int64(left))
		_ = syscall.Nanosleep(&pause, nil) // a signal ended it early: the loop sleeps on
	}
}
