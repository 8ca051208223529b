// Package machine makes, starts, resizes, stops and removes machines, follows their
// disks until they are whole, and keeps machines as they are wanted.
//
// What a person asks for becomes a job, whose steps command the machine's host.
// The Controller watches what the hosts report and whether their leases last,
// writes it into the status of hosts and machines, tells hosts the networks, and
// starts again what should run and does not. A machine belongs to one job at a
// time: see Claim.
//
// It may touch hosts through host.Client, and the fleet's tables: it is the one
// writer of the machines' records, beside the move that has claimed one.
package machine
