package bus

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
)

// RoleProbe is the role in the credentials of a probe; hosts have none.
const RoleProbe = "probe"

const (
	probeReports = "probe.*.report"
	orderVerb    = "order"

	// backlogMessages and backlogBytes are how many reports may wait to be taken.
	// What does not fit is not acknowledged, so its probe sends it again: after an
	// outage a whole fleet has full spools.
	backlogMessages = 1024
	backlogBytes    = 64 << 20
)

func reportSubject(host string) string { return "probe." + host + ".report" }
func orderSubject(host string) string  { return "probe." + host + "." + orderVerb }

// probeClaims says what a probe may do: report about its own host, hear whether
// that arrived, and take and answer orders.
func probeClaims(host, publicKey string) *jwt.UserClaims {
	u := jwt.NewUserClaims(publicKey)
	u.Name = "probe of " + host
	u.Sub.Allow.Add(orderSubject(host), Credentials{Name: host, Role: RoleProbe}.inbox()+".>")
	u.Pub.Allow.Add(reportSubject(host))
	u.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: callTime}
	return u
}

// ProbeCredentials signs the identity of the probe of a host, which need not be
// a host of the fleet, for the public key (a NATS user nkey) that it has made.
func (s *Server) ProbeCredentials(host, nkeyPublic string) (string, error) {
	if err := droveway.ValidName("probe", host); err != nil {
		return "", err
	}
	if !nkeys.IsValidPublicUserKey(nkeyPublic) {
		return "", droveway.Errorf(droveway.Invalid, "probe of %s: %q is no public user key: send the public nkey that the probe made", host, nkeyPublic)
	}
	text, err := probeClaims(host, nkeyPublic).Encode(s.account)
	if err != nil {
		return "", droveway.Errorf(droveway.Internal, "sign the identity of the probe of %s: %w", host, err)
	}
	return text, nil
}

// Report sends what the probe of a host saw, and returns nil once the server has
// taken it. Otherwise it may have been taken or not: the server knows a report
// that comes twice.
func (c *Conn) Report(ctx context.Context, host string, report []byte) error {
	return c.ask(ctx, reportSubject(host), "the server", "a report", report)
}

// Order has the probe of a host do something, and returns nil once it accepted.
func (c *Conn) Order(ctx context.Context, host string, order any) error {
	b, err := json.Marshal(order)
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "encode an order for the probe of %s: %w", host, err)
	}
	return c.ask(ctx, orderSubject(host), "the probe of "+host, "an order", b)
}

func (c *Conn) ask(ctx context.Context, subject, whom, what string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	m, err := c.NC.RequestWithContext(ctx, subject, data)
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "send %s to %s: %w", what, whom, err)
	}
	var r reply
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return droveway.Errorf(droveway.Unavailable, "answer of %s to %s: %w", whom, what, err)
	}
	if r.Error != nil {
		return r.Error
	}
	return nil
}

// Reports takes the reports of all probes, one after the other, until ctx ends.
// The name of the host is that in the identity of the probe. An error of take is
// the probe's answer.
func (c *Conn) Reports(ctx context.Context, take func(host string, report []byte) error) error {
	return c.take(ctx, probeReports, func(m *nats.Msg) error {
		host, _, _ := strings.Cut(strings.TrimPrefix(m.Subject, "probe."), ".")
		return take(host, m.Data)
	})
}

// Orders takes the orders for the probe of a host until ctx ends.
func (c *Conn) Orders(ctx context.Context, host string, take func(order json.RawMessage) error) error {
	return c.take(ctx, orderSubject(host), func(m *nats.Msg) error { return take(m.Data) })
}

func (c *Conn) take(ctx context.Context, subject string, do func(*nats.Msg) error) error {
	sub, err := c.NC.SubscribeSync(subject)
	if err == nil {
		err = sub.SetPendingLimits(backlogMessages, backlogBytes)
	}
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "listen to %s: %w", subject, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrSlowConsumer):
			continue // what did not fit comes again
		case err != nil:
			return droveway.Errorf(droveway.Unavailable, "listen to %s: %w", subject, err)
		}
		var r reply
		if err := do(m); err != nil {
			r.Error = wireError(err)
		}
		c.answer(m, r)
	}
}
