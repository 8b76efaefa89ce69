package main

import "context"

func runSpeed(context.Context, []string) error   { return nil }
func runQuality(context.Context, []string) error { return nil }
