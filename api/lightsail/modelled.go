package lightsail

// modelled returns the names of all operations of Lightsail's API, built here or not. A client that
// calls one that is not built is told so; a name that is not among them is not one of Lightsail's.
//
// They are the 161 of botocore 1.43.11 and GetProfile, of aws-sdk-go-v2/service/lightsail 1.71.1.
func modelled() []string {
	return []string{
		"AllocateStaticIp", "AttachCertificateToDistribution", "AttachDisk", "AttachInstancesToLoadBalancer",
		"AttachLoadBalancerTlsCertificate", "AttachStaticIp", "CloseInstancePublicPorts", "CopySnapshot", "CreateBucket",
		"CreateBucketAccessKey", "CreateCertificate", "CreateCloudFormationStack", "CreateContactMethod", "CreateContainerService",
		"CreateContainerServiceDeployment", "CreateContainerServiceRegistryLogin", "CreateDisk", "CreateDiskFromSnapshot",
		"CreateDiskSnapshot", "CreateDistribution", "CreateDomain", "CreateDomainEntry", "CreateGUISessionAccessDetails",
		"CreateInstanceSnapshot", "CreateInstances", "CreateInstancesFromSnapshot", "CreateKeyPair", "CreateLoadBalancer",
		"CreateLoadBalancerTlsCertificate", "CreateRelationalDatabase", "CreateRelationalDatabaseFromSnapshot",
		"CreateRelationalDatabaseSnapshot", "DeleteAlarm", "DeleteAutoSnapshot", "DeleteBucket", "DeleteBucketAccessKey",
		"DeleteCertificate", "DeleteContactMethod", "DeleteContainerImage", "DeleteContainerService", "DeleteDisk",
		"DeleteDiskSnapshot", "DeleteDistribution", "DeleteDomain", "DeleteDomainEntry", "DeleteInstance", "DeleteInstanceSnapshot",
		"DeleteKeyPair", "DeleteKnownHostKeys", "DeleteLoadBalancer", "DeleteLoadBalancerTlsCertificate", "DeleteRelationalDatabase",
		"DeleteRelationalDatabaseSnapshot", "DetachCertificateFromDistribution", "DetachDisk", "DetachInstancesFromLoadBalancer",
		"DetachStaticIp", "DisableAddOn", "DownloadDefaultKeyPair", "EnableAddOn", "ExportSnapshot", "GetActiveNames", "GetAlarms",
		"GetAutoSnapshots", "GetBlueprints", "GetBucketAccessKeys", "GetBucketBundles", "GetBucketMetricData", "GetBuckets",
		"GetBundles", "GetCertificates", "GetCloudFormationStackRecords", "GetContactMethods", "GetContainerAPIMetadata",
		"GetContainerImages", "GetContainerLog", "GetContainerServiceDeployments", "GetContainerServiceMetricData",
		"GetContainerServicePowers", "GetContainerServices", "GetCostEstimate", "GetDisk", "GetDiskSnapshot", "GetDiskSnapshots",
		"GetDisks", "GetDistributionBundles", "GetDistributionLatestCacheReset", "GetDistributionMetricData", "GetDistributions",
		"GetDomain", "GetDomains", "GetExportSnapshotRecords", "GetInstance", "GetInstanceAccessDetails", "GetInstanceMetricData",
		"GetInstancePortStates", "GetInstanceSnapshot", "GetInstanceSnapshots", "GetInstanceState", "GetInstances", "GetKeyPair",
		"GetKeyPairs", "GetLoadBalancer", "GetLoadBalancerMetricData", "GetLoadBalancerTlsCertificates",
		"GetLoadBalancerTlsPolicies", "GetLoadBalancers", "GetOperation", "GetOperations", "GetOperationsForResource", "GetProfile", "GetRegions",
		"GetRelationalDatabase", "GetRelationalDatabaseBlueprints", "GetRelationalDatabaseBundles", "GetRelationalDatabaseEvents",
		"GetRelationalDatabaseLogEvents", "GetRelationalDatabaseLogStreams", "GetRelationalDatabaseMasterUserPassword",
		"GetRelationalDatabaseMetricData", "GetRelationalDatabaseParameters", "GetRelationalDatabaseSnapshot",
		"GetRelationalDatabaseSnapshots", "GetRelationalDatabases", "GetSetupHistory", "GetStaticIp", "GetStaticIps",
		"ImportKeyPair", "IsVpcPeered", "OpenInstancePublicPorts", "PeerVpc", "PutAlarm", "PutInstancePublicPorts", "RebootInstance",
		"RebootRelationalDatabase", "RegisterContainerImage", "ReleaseStaticIp", "ResetDistributionCache",
		"SendContactMethodVerification", "SetIpAddressType", "SetResourceAccessForBucket", "SetupInstanceHttps", "StartGUISession",
		"StartInstance", "StartRelationalDatabase", "StopGUISession", "StopInstance", "StopRelationalDatabase", "TagResource",
		"TestAlarm", "UnpeerVpc", "UntagResource", "UpdateBucket", "UpdateBucketBundle", "UpdateContainerService",
		"UpdateDistribution", "UpdateDistributionBundle", "UpdateDomainEntry", "UpdateInstanceMetadataOptions",
		"UpdateLoadBalancerAttribute", "UpdateRelationalDatabase", "UpdateRelationalDatabaseParameters",
	}
}
