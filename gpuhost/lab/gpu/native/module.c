/*
 * A kernel module as far as kmod looks into one: modinfo reads .modinfo, depmod
 * the symbols that it exports and those that it lacks. There is no code in it.
 *
 * Given with -D: NAME VERSION LICENSE DEPENDS EXPORTS (strings), NEEDS (a symbol, or absent).
 */
#define IN(section_name) __attribute__((section(section_name), used, aligned(1)))
#define INFO(variable, text) static const char variable[] IN(".modinfo") = text;

INFO(about_version, "version=" VERSION)
INFO(about_license, "license=" LICENSE)
INFO(about_depends, "depends=" DEPENDS)
INFO(about_name, "name=" NAME)
INFO(about_description, "description=Simulated by gpuhost lab: has no code")
#ifndef NEEDS
INFO(about_3d_controllers, "alias=pci:v000010DEd*sv*sd*bc03sc02i00*")
INFO(about_vga_controllers, "alias=pci:v000010DEd*sv*sd*bc03sc00i00*")
#endif

static const char exported[] IN("__ksymtab_strings") = EXPORTS;

#ifdef NEEDS
extern const char NEEDS;
const char *const needed = &NEEDS;
#endif
