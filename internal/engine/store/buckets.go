package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/droveway/droveway"
)

// Names of the buckets. A bucket is the stream KV_<name> with the subjects
// $KV.<name>.>, by which the bus grants permissions.
const (
	BucketObjects   = "objects"
	BucketObserved  = "observed"
	BucketJobs      = "jobs"
	BucketLeases    = "leases"
	BucketRelations = "relations"
)

const (
	// markerLife is how long a deleted key is remembered. A watcher that was
	// cut off for longer could miss the deletion.
	markerLife = time.Hour

	// Three replicas survive the loss of one server.
	clusterReplicas = 3

	// Hosts write into these buckets; one that runs wild must not use up the
	// room of the others.
	hostBytes = 256 << 20

	// Relations are found, so there may be any number of them.
	relationBytes = 512 << 20
)

// Stores are the buckets of a fleet.
type Stores struct {
	Objects   jetstream.KeyValue // what is wanted; written by the server
	Observed  jetstream.KeyValue // what is seen; each host writes its own keys
	Jobs      jetstream.KeyValue // journals of jobs
	Leases    jetstream.KeyValue // keys that run out
	Relations jetstream.KeyValue // who talks to whom; written by the server
}

// Buckets opens the buckets and makes those that are missing: kept in files, and
// by three servers if the bus is a cluster. An error is of kind Unavailable.
func Buckets(ctx context.Context, js jetstream.JetStream) (*Stores, error) {
	s := &Stores{}
	for _, b := range []struct {
		name  string
		bytes int64
		kv    *jetstream.KeyValue
	}{
		{BucketObjects, -1, &s.Objects},
		{BucketObserved, hostBytes, &s.Observed},
		{BucketJobs, -1, &s.Jobs},
		{BucketLeases, hostBytes, &s.Leases},
		{BucketRelations, relationBytes, &s.Relations},
	} {
		kv, err := openBucket(ctx, js, bucketConfig(b.name, b.bytes))
		if err != nil {
			return nil, droveway.Errorf(droveway.Unavailable, "open bucket %s: %w", b.name, err)
		}
		*b.kv = kv
	}
	return s, nil
}

// bucketConfig is that of a NATS key-value bucket (ADR-8) but for two things.
//
// Roll-ups are refused: whoever may write one key could otherwise delete all
// others by a header. Deletions are written as marks, which need none, and with
// one message a key they free the same room.
//
// Direct reads are off: in a cluster any replica answers them, also one that has
// not heard of the last write yet.
func bucketConfig(name string, bytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              streamOf(name),
		Subjects:          []string{"$KV." + name + ".>"},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		MaxBytes:          bytes,
		Discard:           jetstream.DiscardNew,
		DenyDelete:        true,
		AllowMsgTTL:       true,
	}
}

func streamOf(bucket string) string { return "KV_" + bucket }

func openBucket(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) (jetstream.KeyValue, error) {
	if err := makeStream(ctx, js, cfg); err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, strings.TrimPrefix(cfg.Name, streamOf("")))
	if err != nil {
		return nil, err
	}
	// The marks of deleted keys outlive their use: here they go.
	return kv, kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(markerLife))
}

func makeStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) error {
	if js.Conn().ConnectedClusterName() != "" {
		cfg.Replicas = clusterReplicas
		_, err := js.CreateOrUpdateStream(ctx, cfg)
		if !tooFewServers(err) {
			return err
		}
	}
	cfg.Replicas = 1
	_, err := js.CreateOrUpdateStream(ctx, cfg)
	return err
}

// Codes of the server (server/errors.json of nats-server).
const (
	codeNoPeers      jetstream.ErrorCode = 10005 // no suitable peers for placement
	codeNotClustered jetstream.ErrorCode = 10074 // replicas > 1 not supported in non-clustered mode
)

// tooFewServers is how a cluster of fewer than three servers answers.
func tooFewServers(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == codeNoPeers || api.ErrorCode == codeNotClustered)
}
