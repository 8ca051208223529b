package bus

import (
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/droveway/droveway"
)

// answerTime is how long a host may take to answer a command; afterwards the
// bus refuses the answer. It only bounds what the bus remembers.
const answerTime = time.Hour

// hostClaims says what a host may do.
func hostClaims(host, publicKey string) *jwt.UserClaims {
	u := jwt.NewUserClaims(publicKey)
	u.Name = host
	u.Sub.Allow.Add(commandSubject(host, ">"), inboxPrefix(host)+".>")
	u.Pub.Allow.Add(
		"event.host."+host+".>",
		"$KV.observed."+host+".>",
		"$KV.leases.host."+host,
	)
	u.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: answerTime}
	return u
}

// HostCredentials signs the identity of a host for the public key (a NATS user
// nkey) it has made. Whoever holds the private key can answer the host's
// commands, write its keys and tell its events, and nothing else.
func (s *Server) HostCredentials(host, nkeyPublic string) (string, error) {
	if err := droveway.ValidName("host", host); err != nil {
		return "", err
	}
	if !nkeys.IsValidPublicUserKey(nkeyPublic) {
		return "", droveway.Errorf(droveway.Invalid, "host %s: %q is no public user key: send the public nkey that the host made", host, nkeyPublic)
	}
	text, err := hostClaims(host, nkeyPublic).Encode(s.account)
	if err != nil {
		return "", droveway.Errorf(droveway.Internal, "sign the identity of host %s: %w", host, err)
	}
	return text, nil
}

// serverIdentity makes an identity that may do everything in the account. It
// lives as long as the connection that uses it.
func serverIdentity(account nkeys.KeyPair) (text string, pair nkeys.KeyPair, err error) {
	pair, err = nkeys.CreateUser()
	if err != nil {
		return "", nil, droveway.Errorf(droveway.Internal, "make the server's key: %w", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return "", nil, droveway.Errorf(droveway.Internal, "make the server's key: %w", err)
	}
	u := jwt.NewUserClaims(public)
	u.Name = "server"
	text, err = u.Encode(account)
	if err != nil {
		return "", nil, droveway.Errorf(droveway.Internal, "sign the server's identity: %w", err)
	}
	return text, pair, nil
}
