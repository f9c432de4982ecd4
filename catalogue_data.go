package openimds

// The catalogue, after the Lightsail user guide, the examples of the AWS CLI, and what the API's
// public users show.

// Blueprints returns all blueprints.
//
// CallsV1 is this project's own judgement, for no list has been published. Cloud-init has used
// IMDSv2 since 20.1, of early 2020, so an operating system that starts with a later one is taken
// not to call v1. Images that start with scripts of their own (FreeBSD; EC2Launch v1 on Windows
// before 2022; the first-boot scripts of Bitnami, Plesk and cPanel) are taken to call it until the
// counters of an instance show otherwise: a warning in vain costs less than a guest that fails.
func Blueprints() []Blueprint {
	const linux, windows = PlatformLinux, PlatformWindows
	const xvda, sda = "/dev/xvda", "/dev/sda1"
	// As recorded from Lightsail in September 2026.
	tokensRequired := OptionsUpdate{Tokens: new(TokensRequired)}
	return []Blueprint{
		{ID: "amazon_linux_2023", Name: "Amazon Linux 2023", Group: "amazon_linux_2023", Type: "os", Platform: linux, Active: true, Version: "2023", Username: "ec2-user", RootDevice: xvda, ProductURL: "https://aws.amazon.com/linux/amazon-linux-2023/", Options: tokensRequired},
		{ID: "amazon_linux_2", Name: "Amazon Linux 2", Group: "amazon_linux_2", Type: "os", Platform: linux, Active: true, Version: "2", Username: "ec2-user", RootDevice: xvda, ProductURL: "https://aws.amazon.com/amazon-linux-2/"},
		{ID: "ubuntu_24_04", Name: "Ubuntu", Group: "ubuntu_24", Type: "os", Platform: linux, Active: true, Version: "24.04 LTS", Username: "ubuntu", RootDevice: sda, ProductURL: "https://ubuntu.com/"},
		{ID: "ubuntu_22_04", Name: "Ubuntu", Group: "ubuntu_22", Type: "os", Platform: linux, Active: true, Version: "22.04 LTS", Username: "ubuntu", RootDevice: sda, ProductURL: "https://ubuntu.com/"},
		{ID: "debian_12", Name: "Debian", Group: "debian", Type: "os", Platform: linux, Active: true, Version: "12", Username: "admin", RootDevice: xvda, ProductURL: "https://www.debian.org/"},
		{ID: "debian_11", Name: "Debian", Group: "debian", Type: "os", Platform: linux, Active: true, Version: "11", Username: "admin", RootDevice: xvda, ProductURL: "https://www.debian.org/"},
		{ID: "freebsd_14", Name: "FreeBSD", Group: "freebsd", Type: "os", Platform: linux, Active: true, Version: "14", Username: "ec2-user", RootDevice: sda, ProductURL: "https://www.freebsd.org/", CallsV1: true},
		{ID: "freebsd_13", Name: "FreeBSD", Group: "freebsd", Type: "os", Platform: linux, Active: true, Version: "13", Username: "ec2-user", RootDevice: sda, ProductURL: "https://www.freebsd.org/", CallsV1: true},
		{ID: "opensuse_15", Name: "openSUSE", Group: "opensuse", Type: "os", Platform: linux, Active: true, Version: "15", Username: "ec2-user", RootDevice: sda, ProductURL: "https://www.opensuse.org/"},
		{ID: "alma_linux_9", Name: "AlmaLinux", Group: "alma_linux", Type: "os", Platform: linux, Active: true, Version: "9", Username: "ec2-user", RootDevice: sda, ProductURL: "https://almalinux.org/"},
		{ID: "centos_stream_9", Name: "CentOS Stream", Group: "centos_stream", Type: "os", Platform: linux, Active: true, Version: "9", Username: "centos", RootDevice: sda, ProductURL: "https://www.centos.org/"},
		{ID: "windows_server_2022", Name: "Windows Server 2022", Group: "windows_server_2022", Type: "os", Platform: windows, Active: true, Version: "2022", Username: "Administrator", RootDevice: sda, ProductURL: "https://aws.amazon.com/windows/"},
		{ID: "windows_server_2019", Name: "Windows Server 2019", Group: "windows_server_2019", Type: "os", Platform: windows, Active: true, Version: "2019", Username: "Administrator", RootDevice: sda, ProductURL: "https://aws.amazon.com/windows/", CallsV1: true},
		{ID: "windows_server_2016", Name: "Windows Server 2016", Group: "windows_server_2016", Type: "os", Platform: windows, Active: true, Version: "2016", Username: "Administrator", RootDevice: sda, ProductURL: "https://aws.amazon.com/windows/", CallsV1: true},

		bitnami("wordpress", "WordPress", "wordpress", "6.5.3-0"),
		bitnami("wordpress_multisite", "WordPress Multisite", "wordpress_multisite", ""),
		bitnami("lamp_8_bitnami", "LAMP (PHP 8)", "lamp_8", "8.2.18-4"),
		bitnami("nodejs", "Node.js", "node", "18.20.2-0"),
		bitnami("joomla", "Joomla", "joomla", ""),
		bitnami("magento", "Magento", "magento", ""),
		bitnami("mean", "MEAN", "mean", ""),
		bitnami("drupal", "Drupal", "drupal", ""),
		bitnami("gitlab", "GitLab CE", "gitlab", ""),
		bitnami("redmine", "Redmine", "redmine", ""),
		bitnami("nginx", "Nginx", "nginx", ""),
		bitnami("ghost_bitnami", "Ghost", "ghost", ""),
		bitnami("django_bitnami", "Django", "django", ""),
		bitnami("prestashop_bitnami", "PrestaShop", "prestashop", ""),
		{ID: "plesk_ubuntu_byol", Name: "Plesk Hosting Stack on Ubuntu", Group: "plesk_ubuntu", Type: "app", Platform: linux, Active: true, Username: "ubuntu", RootDevice: sda, ProductURL: "https://www.plesk.com/", CallsV1: true},
		{ID: "cpanel_whm_almalinux", Name: "cPanel & WHM for AlmaLinux", Group: "cpanel_whm", Type: "app", Platform: linux, Active: true, Username: "ec2-user", RootDevice: sda, ProductURL: "https://cpanel.net/", CallsV1: true},
	}
}

func bitnami(id, name, group, version string) Blueprint {
	return Blueprint{
		ID: id, Name: name, Group: group, Type: "app", Platform: PlatformLinux, Active: true, Version: version,
		Username: "bitnami", RootDevice: "/dev/xvda", ProductURL: "https://bitnami.com/", CallsV1: true,
	}
}

// Bundles returns all bundles of a region.
//
// The power of medium and larger bundles is not published; it rises with the size. The EC2 types are
// those of the same number of CPUs and the same memory; guests of real ones see t2 and t3a as well.
func Bundles(region string) []Bundle {
	type size struct {
		id, name, ec2                            string
		cpus                                     int
		ram                                      float64
		disk, transfer, power                    int
		price, priceIPv6, priceWin, priceWinIPv6 float64
	}
	sizes := []size{
		{"nano", "Nano", "t3.nano", 2, 0.5, 20, 1024, 298, 5, 3.5, 9.5, 8},
		{"micro", "Micro", "t3.micro", 2, 1, 40, 2048, 500, 7, 5, 14, 12},
		{"small", "Small", "t3.small", 2, 2, 60, 3072, 1000, 12, 10, 22, 20},
		{"medium", "Medium", "t3.medium", 2, 4, 80, 4096, 2000, 24, 20, 44, 40},
		{"large", "Large", "t3.large", 2, 8, 160, 5120, 3000, 44, 40, 74, 70},
		{"xlarge", "Xlarge", "t3.xlarge", 4, 16, 320, 6144, 4000, 84, 80, 124, 120},
		{"2xlarge", "2Xlarge", "t3.2xlarge", 8, 32, 640, 7168, 5000, 164, 160, 244, 240},
		{"4xlarge", "4Xlarge", "m5.4xlarge", 16, 64, 1280, 8192, 6000, 384, 0, 0, 0},
	}
	suffix := generation(region)
	var bundles []Bundle
	for _, s := range sizes {
		b := Bundle{
			ID: s.id + suffix, Name: s.name, Size: s.id, EC2Type: s.ec2, Price: s.price, CPUs: s.cpus, RAM: s.ram,
			DiskGB: s.disk, TransferGB: s.transfer, Power: s.power, Platform: PlatformLinux, Active: true,
		}
		if suffix == "_3_2" { // Sydney has half the transfer
			b.TransferGB /= 2
		}
		bundles = append(bundles, b)
		variant := func(id string, price float64, platform string, ipv6Only bool) {
			if price == 0 {
				return // not offered
			}
			v := b
			v.ID, v.Price, v.Platform, v.IPv6Only = s.id+id+suffix, price, platform, ipv6Only
			if platform == PlatformWindows {
				v.DiskGB = max(v.DiskGB, 30)
			}
			bundles = append(bundles, v)
		}
		variant("_ipv6", s.priceIPv6, PlatformLinux, true)
		variant("_win", s.priceWin, PlatformWindows, false)
		variant("_win_ipv6", s.priceWinIPv6, PlatformWindows, true)
		if s.id != "4xlarge" {
			old := b
			old.ID, old.Active = s.id+"_2_0", false
			bundles = append(bundles, old)
		}
	}
	return bundles
}

// Regions returns the regions of Lightsail.
func Regions() []Region {
	return []Region{
		{"us-east-1", "Virginia", "NA", "the eastern United States", "abcdef"},
		{"us-east-2", "Ohio", "NA", "the eastern United States", "abc"},
		{"us-west-1", "California", "NA", "the western United States", "ac"},
		{"us-west-2", "Oregon", "NA", "the northwestern United States, Alaska, and western Canada", "abcd"},
		{"ca-central-1", "Montreal", "NA", "Canada and the northeastern United States", "abd"},
		{"sa-east-1", "Sao Paulo", "SA", "South America", "abc"},
		{"eu-west-1", "Ireland", "EU", "Ireland and the United Kingdom", "abc"},
		{"eu-west-2", "London", "EU", "the United Kingdom", "abc"},
		{"eu-west-3", "Paris", "EU", "France and its neighbours", "abc"},
		{"eu-central-1", "Frankfurt", "EU", "central and eastern Europe", "abc"},
		{"eu-north-1", "Stockholm", "EU", "northern Europe", "abc"},
		{"eu-south-2", "Spain", "EU", "southern Europe", "abc"},
		{"ap-south-1", "Mumbai", "AP", "India and southern Asia", "abc"},
		{"ap-east-1", "Hong Kong", "AP", "Hong Kong and eastern Asia", "abc"},
		{"ap-southeast-1", "Singapore", "AP", "southeast Asia", "abc"},
		{"ap-southeast-2", "Sydney", "AP", "Australia and New Zealand", "abc"},
		{"ap-southeast-3", "Jakarta", "AP", "Indonesia", "abc"},
		{"ap-southeast-5", "Malaysia", "AP", "Malaysia", "abc"},
		{"ap-northeast-1", "Tokyo", "AP", "Japan", "acd"},
		{"ap-northeast-2", "Seoul", "AP", "the Korean peninsula", "abcd"},
	}
}
