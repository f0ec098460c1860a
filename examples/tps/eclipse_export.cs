// Eclipse (ESAPI, read-only single-file script): send the open plan's CT, structures, plan and dose to rtplan's node by C-MOVE.
//
// NEVER RUN IN ECLIPSE by its authors, who have none: a template after the public documentation of ESAPI and of DCMTK.
// Try it on a phantom. Research use only.
//
// Steps: 1. open a plan in External Beam Planning   2. run this script (Tools > Scripts)   3. it writes a command file
//        4. the command asks the DICOM database daemon to send each object to the node (AE title RTPLAN, rtplan serve)
//        5. the node runs its rule, and sends the results to the destinations of node.toml: let the import daemon be one
// Before: the daemon must know RTPLAN and the caller as trusted entities; movescu is of DCMTK (dcmtk.org).
// The MR is another series: send it in the same way from where it is kept, or export it by hand.
using System;
using System.IO;
using System.Windows;
using VMS.TPS.Common.Model.API;

namespace VMS.TPS
{
    public class Script
    {
        // Yours: folder of the command files, movescu, the daemon's address and titles.
        const string Folder = @"C:\rtplan";
        const string Daemon = @"movescu -v -aet SCRIPT -aec VMSDBD -aem RTPLAN -S 127.0.0.1 51402";

        public void Execute(ScriptContext context)
        {
            PlanSetup plan = context.PlanSetup;
            if (context.Patient == null || plan == null || plan.StructureSet == null || plan.Dose == null)
                throw new ApplicationException("Open a plan with structures and a calculated dose.");

            Series images = plan.StructureSet.Image.Series;
            string[] commands =
            {
                "@echo off",
                Daemon + " -k 0008,0052=SERIES -k 0020,000D=" + images.Study.UID + " -k 0020,000E=" + images.UID,
                Image(plan.StructureSet.UID),
                Image(plan.UID),
                Image(plan.Dose.UID),
            };
            // No name and no ID in the file's name: it is the plan's UID.
            string file = Path.Combine(Folder, plan.UID + ".cmd");
            File.WriteAllLines(file, commands);
            MessageBox.Show("Written: " + file + "\nRun it to send the plan to rtplan.");
        }

        static string Image(string uid)
        {
            return Daemon + " -k 0008,0052=IMAGE -k 0008,0018=" + uid;
        }
    }
}
