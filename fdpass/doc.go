// Package fdpass carries messages and open files between two processes of one machine (Linux).
package fdpass
