// Package storetest has the contract of [openimds.Store] as a test suite.
package storetest
