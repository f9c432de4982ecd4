// Package migrate takes instances from IMDSv1 to v2: it finds out who still calls without a session token,
// requires tokens in waves, brings an instance back by itself when a caller is refused, undoes, and keeps a
// journal of every step from which another process can go on.
//
// A [Provider] is the control API that the instances are of: an openimds server's, or Amazon Lightsail's.
// What a provider does not know is unknown, and nothing is required on it.
package migrate
