package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
)

// Events are made from the records, whoever changed them, with an identifier
// that is the same for the same change: so a change is told once even if a
// server was killed between writing a record and telling of it. The bus knows an
// identifier again for two minutes; what was written longer before the start of
// the server is taken for told.
const toldAfter = 100 * time.Second

// eventRetry is the pause before an event that the bus did not take is sent
// again.
const eventRetry = time.Second

const source = "server"

func subject(machine string) string { return "machine/" + machine }

// machineData is the data of an event about a machine.
type machineData struct {
	State   droveway.MachineState `json:"state,omitempty"`
	Host    string                `json:"host,omitempty"`
	Token   uint64                `json:"token,omitempty"`
	Message string                `json:"message,omitempty"`
}

func (c *Controller) announceMachines(ctx context.Context) error {
	known := map[string]droveway.Machine{}
	return c.cfg.Fleet.Machines.Watch(ctx, func(ch store.Change[droveway.Machine]) error {
		was, ok := known[ch.Name]
		switch {
		case ch.Synced:
			return nil
		case ch.Deleted:
			delete(known, ch.Name)
			if !ok {
				return nil
			}
			return c.tell(ctx, machineEvent("removed", &was, was.Created))
		}
		m := ch.Value
		known[ch.Name] = m
		if was.Status.State == m.Status.State || (!ok && time.Since(m.Status.Since) > toldAfter) {
			return nil
		}
		c.metrics.changes.WithLabelValues(string(m.Status.State)).Inc()
		return c.tell(ctx, machineEvent(string(m.Status.State), &m, m.Status.Since))
	})
}

func machineEvent(what string, m *droveway.Machine, at time.Time) droveway.Event {
	data, _ := json.Marshal(machineData{m.Status.State, m.Status.Host, m.Status.Token, m.Status.Message}) // cannot fail: strings and numbers
	return droveway.Event{
		ID:   fmt.Sprintf("machine.%s.%s.%d", m.Name, what, at.UnixNano()),
		Type: "machine." + what, Subject: subject(m.Name), Source: source, Data: data,
	}
}

// announceHosts tells when a host comes and goes, and which machines it holds. That it
// joined is told by whoever let it in.
func (c *Controller) announceHosts(ctx context.Context) error {
	known := map[string]droveway.HostStatus{}
	return c.cfg.Fleet.Hosts.Watch(ctx, func(ch store.Change[droveway.Host]) error {
		switch {
		case ch.Synced:
			return nil
		case ch.Deleted:
			delete(known, ch.Name)
			c.metrics.held.DeleteLabelValues(ch.Name)
			return nil
		}
		was, ok := known[ch.Name]
		is := ch.Value.Status
		known[ch.Name] = is
		c.metrics.held.WithLabelValues(ch.Name).Set(float64(len(is.Held)))
		for _, e := range hostEvents(ch.Name, was, is) {
			if !ok && time.Since(e.Time) > toldAfter {
				continue
			}
			if err := c.tell(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// hostEvents is what a change of a host's status is worth telling.
func hostEvents(name string, was, is droveway.HostStatus) []droveway.Event {
	var all []droveway.Event
	add := func(what string, at time.Time, data json.RawMessage) {
		all = append(all, droveway.Event{
			ID: fmt.Sprintf("host.%s.%s.%d", name, what, at.UnixNano()), Time: at,
			Type: "host." + what, Subject: "host/" + name, Source: source, Data: data,
		})
	}
	if was.State != is.State && is.State != droveway.HostJoined {
		add(string(is.State), is.Since, nil)
	}
	for _, h := range is.Held {
		if slices.ContainsFunc(was.Held, func(o droveway.HeldMachine) bool { return o.Machine == h.Machine }) {
			continue
		}
		data, _ := json.Marshal(h) // cannot fail: strings and a time
		add("holds", h.Since, data)
		all[len(all)-1].ID += "." + h.Machine
	}
	return all
}

// tell publishes an event, as often as it takes: the watch that called it waits.
func (c *Controller) tell(ctx context.Context, e droveway.Event) error {
	for {
		err := c.cfg.Events.Publish(ctx, e)
		if err == nil || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.cfg.Log.Warn("an event waits for the bus", "event", e.Type, "subject", e.Subject, "error", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(eventRetry):
		}
	}
}
