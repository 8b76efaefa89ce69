package main

import (
	"fmt"
	"net/netip"
	"time"

	"chunkstream/webhook"
)

// webhookFlags is where deliveries may go.
type webhookFlags struct {
	WebhookHTTP    bool          `name:"webhook-http" group:"Webhooks" help:"Deliver over plain http too."`
	WebhookNetwork []string      `group:"Webhooks" placeholder:"CIDR" help:"Deliver to private and other special addresses too if they are in this network, such as 10.1.0.0/16. May be given several times."`
	WebhookTimeout time.Duration `group:"Webhooks" default:"10s" help:"Bound of an attempt, from the look-up of the name to the answer."`
}

func (f *webhookFlags) policy() (webhook.Policy, error) {
	p := webhook.Policy{HTTP: f.WebhookHTTP}
	for _, text := range f.WebhookNetwork {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return p, &exitError{exitUsage, fmt.Errorf("--webhook-network: %w", err), "--webhook-network 10.1.0.0/16"}
		}
		p.Networks = append(p.Networks, network.Masked())
	}
	if f.WebhookTimeout < 100*time.Millisecond || f.WebhookTimeout > time.Minute {
		return p, &exitError{exitUsage, fmt.Errorf("--webhook-timeout %v is outside 100ms to 1m", f.WebhookTimeout), "--webhook-timeout 10s"}
	}
	return p, nil
}
