package store

import "github.com/nats-io/nats.go"

// Mark makes the message that says that a key was deleted (NATS ADR-8). It is to
// be published with a time to live; the key's owner says which.
func Mark(subject string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Header.Set("KV-Operation", "DEL")
	return m
}
